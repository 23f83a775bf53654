"""Does a circuit alone do what the model does?"""
