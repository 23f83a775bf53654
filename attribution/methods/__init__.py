"""Methods that give every node an effect, one file each, and their registry."""
