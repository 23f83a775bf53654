"""The keys of SAELens's cfg.json, of every version: those that are read, and those that change no feature.

A key in neither list may change what the SAE computes; `load_saes` lists such keys once.
"""

from collections.abc import Mapping
from typing import Any, Final

_READ: Final = """
    architecture d_in d_sae d_out k activation_fn activation_fn_str activation_fn_kwargs rescale_acts_by_decoder_norm
    apply_b_dec_to_input normalize_activations reshape_activations finetuning_scaling_factor
    metadata hook_name hook_point hook_name_out hook_head_index hook_point_head_index
    model_class_name model_from_pretrained_kwargs from_pretrained_kwargs sae_lens_version sae_lens_training_version
    seqpos_slice context_size prepend_bos
"""
_ABOUT: Final = """
    dtype device neuronpedia_id model_name hf_hook_name hook_layer hook_point_layer hook_eval hook_point_eval
    training_tokens total_training_tokens total_training_steps trainer_training_tokens run_name name id release
    sae_id l0 sparsity variance_explained exclude_special_tokens dataset_path dataset_trust_remote_code streaming
    is_dataset_tokenized disable_concat_sequences sequence_separator_token layer hook_layers feature_size
    normalize_sae_decoder sae_set path repo_id folder_name verbose seed model_kwargs d_head num_dead_features
    trained_d_sae training_architecture training_architecture_details
"""
_TRAINING: Final = """
    b_dec_init_method b_dec_init_norm expansion_factor noise_scale from_pretrained_path decoder_orthogonal_init
    decoder_heuristic_init decoder_heuristic_init_norm decoder_init_norm init_encoder_as_decoder_transpose
    use_cached_activations cached_activations_path n_batches_in_buffer finetuning_tokens finetuning_method
    store_batch_size store_batch_size_prompts train_batch_size train_batch_size_tokens act_store_device
    activations_mixing_fraction jumprelu_init_threshold jumprelu_bandwidth jumprelu_sparsity_loss_mode
    jumprelu_tanh_scale pre_act_loss_coefficient autocast autocast_lm compile_llm llm_compilation_mode compile_sae
    sae_compilation_mode adam_beta1 adam_beta2 mse_loss_normalization l1_coefficient l0_coefficient lp_norm
    scale_sparsity_penalty_by_decoder_norm l1_warm_up_steps l0_warm_up_steps lr lr_scheduler_name lr_warm_up_steps
    lr_end lr_decay_steps n_restart_cycles use_ghost_grads feature_sampling_window feature_sampling_method
    feature_reinit_scale dead_feature_window dead_feature_threshold dead_feature_estimation_method
    dead_feature_resampling_method resample_batches n_eval_batches eval_batch_size_prompts n_resampled_neurons
    aux_loss_coefficient topk_threshold_lr use_sparse_activations matryoshka_widths use_matryoshka_aux_loss
    log_to_wandb log_activations_store_to_wandb log_optimizer_state_to_wandb logger wandb_project wandb_id
    wandb_entity wandb_log_frequency eval_every_n_wandb_logs resume resume_from_checkpoint n_checkpoints
    checkpoint_path save_final_checkpoint output_path tokens_per_buffer lr_warm_up_steps llm_device
    buffer_size_in_tokens use_shuffled_buffer n_tokens_per_buffer
"""
KNOWN: Final = frozenset((_READ + _ABOUT + _TRAINING).split())


def unknown_keys(raw: Mapping[str, Any]) -> tuple[str, ...]:
    """The keys at the top and in `metadata` that are in no list, sorted; keys of metadata with its name before them."""
    metadata = raw.get("metadata")
    inside = metadata if isinstance(metadata, Mapping) else {}
    found = [key for key in raw if key not in KNOWN]
    return (*sorted(found), *sorted(f"metadata.{key}" for key in inside if key not in KNOWN))
