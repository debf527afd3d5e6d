"""The configuration tree: every key with its default, its range and what it means."""

from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

PositiveInt = Annotated[int, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class ModelConfig(_Part):
    """The base model and the LoRA on it."""

    name: str = Field(
        default="smollm2-135m-instruct",
        min_length=1,
        description="The embedded model's name, a Hugging Face id, or a local directory.",
    )
    dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto",
        description="Of the frozen base in training; auto is bfloat16 where the hardware multiplies it natively.",
    )
    quantization: Literal["none", "nf4"] = Field(
        default="none",
        description="Of the frozen base in training: nf4 takes a quarter of bfloat16's memory and more time (QLoRA).",
    )
    sampler_dtype: Literal["auto", "float32", "bfloat16"] = Field(
        default="auto", description="Of the sampler's merged copy; auto as for dtype."
    )
    sampler: Literal["own", "vllm"] = Field(
        default="own",
        description="What samples: this package's decoder, or, on CUDA, a vLLM that is installed beside it.",
    )
    sampler_memory: Fraction = Field(
        default=0.4, description="Share of the accelerator's memory that vLLM takes, the base's weights included."
    )
    lora_rank: PositiveInt = Field(default=16, description="Rank of the LoRA.")
    lora_alpha: float = Field(default=32.0, gt=0, description="LoRA scale is lora_alpha / lora_rank.")
    lora_targets: str | tuple[str, ...] = Field(
        default="all-linear",
        description="Names of the adapted layers, or all-linear for every linear layer but the head.",
    )
    max_prompt_tokens: PositiveInt = Field(default=512, description="Longer prompts are rejected, never cut.")
    max_response_tokens: PositiveInt = Field(default=128, description="Sampling ends here at the latest.")

    @model_validator(mode="after")
    def _samples_what_it_trains(self) -> "ModelConfig":
        if self.sampler == "vllm" and self.quantization != "none":
            raise ValueError(
                "sampler vllm holds the unquantized base, another model than quantization nf4 trains on: use own"
            )
        return self


class TrainingConfig(_Part):
    """How the policy learns."""

    algorithm: Literal["grpo", "grpo_positive", "grpo_plus", "dr_grpo", "rloo", "reinforce_pp", "ppo"] = Field(
        default="grpo", description="Preset of advantage, clipping, aggregation and filtering."
    )
    advantage: Literal["group", "group_positive", "group_mean", "rloo", "reinforce_pp", "gae"] | None = Field(
        default=None, description="Advantage estimator, where it shall differ from the algorithm's."
    )
    aggregation: Literal["token_mean", "sequence_mean", "fixed_length"] | None = Field(
        default=None, description="How token losses become one number, where it shall differ from the algorithm's."
    )
    clip_low: Fraction | None = Field(
        default=None, description="The ratio is clipped at 1 - clip_low; the algorithm's when unset."
    )
    clip_high: float | None = Field(
        default=None, gt=0, description="The ratio is clipped at 1 + clip_high; the algorithm's when unset."
    )
    dual_clip: float | None = Field(
        default=None,
        gt=1,
        description="Where the advantage is negative, the ratio counts at most this much; unset: any.",
    )
    overlong_filtering: bool | None = Field(
        default=None,
        description="Advantage 0 for answers cut at the length limit without reward; the algorithm's when unset.",
    )
    compact_filtering: tuple[Literal["truncated", "timeout", "out_of_memory", "invalid_patch"], ...] = Field(
        default=(),
        description="Answers that ended so are left out of the loss; their group's statistics keep them.",
    )
    uniform_groups: Literal["count", "drop"] = Field(
        default="count",
        description="Groups whose answers all earned the same teach nothing: whether their tokens count in the mean.",
    )
    sampling_rounds: PositiveInt = Field(
        default=1,
        description="Rounds of sampling at most, until batch_size issues have answers of different rewards; "
        "1 trains on what comes.",
    )
    lengthening: dict[PositiveInt, PositiveInt] = Field(
        default={},
        description="Context lengthening: up to these steps, responses have at most so many tokens; "
        "after the last, model.max_response_tokens.",
    )
    seed: int = Field(default=0, ge=0, description="Of sampling, initialisation and the order of issues.")
    max_steps: PositiveInt | None = Field(default=None, description="Optimizer steps at most.")
    epochs: float | None = Field(default=None, gt=0, description="Passes over the training issues at most.")
    max_minutes: float | None = Field(
        default=None, gt=0, description="Wall time at most, warm start and fold evaluation included."
    )
    batch_size: PositiveInt = Field(default=8, description="Issues a step.")
    group_size: PositiveInt = Field(default=8, description="Answers sampled to each issue.")
    temperature: float = Field(default=1.0, gt=0, description="Of sampling in training.")
    minibatches: PositiveInt = Field(
        default=1, description="Parts that a step's batch is cut into, an optimizer update each."
    )
    epochs_per_batch: PositiveInt = Field(default=1, description="Passes over each step's batch.")
    micro_batch_tokens: PositiveInt = Field(
        default=2048, description="Tokens at once in a forward pass; changes memory, not results."
    )
    learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Peak learning rate of the LoRA.")
    schedule: Literal["constant", "linear", "cosine"] = Field(
        default="constant", description="After warm-up, to zero at the last step."
    )
    warmup_steps: int = Field(default=0, ge=0, description="Steps of linear warm-up.")
    weight_decay: float = Field(default=0.0, ge=0, description="Of AdamW.")
    max_grad_norm: float = Field(default=1.0, gt=0, description="Gradients are scaled down to this norm.")
    kl_coefficient: float = Field(
        default=0.0, ge=0, description="Weight of the KL to the base model; 0 switches it off."
    )
    kl_estimator: Literal["k1", "k2", "k3"] = Field(
        default="k3", description="k1 is taken from the reward, k2 and k3 are added to the loss."
    )
    importance_cap: float = Field(
        default=2.0, ge=1, description="Cap of the correction between the sampler's probabilities and the trainer's."
    )
    gae_lambda: float = Field(default=1.0, ge=0, le=1, description="λ of generalized advantage estimation.")
    discount: float = Field(default=1.0, gt=0, le=1, description="γ of generalized advantage estimation.")
    value_clip: float = Field(
        default=0.2, gt=0, description="The critic's values move at most this far from the old ones."
    )
    critic_learning_rate: float = Field(
        default=1e-3, gt=0, le=1, description="Learning rate of the critic's adapter and head."
    )
    critic_warmup_steps: int = Field(default=0, ge=0, description="First steps in which only the critic learns.")
    curriculum: Literal["uniform", "solve_rate"] = Field(
        default="uniform",
        description="Order of issues: as shuffled, or those first that the base solves sometimes, by its rollouts.",
    )
    warm_start: Literal["none", "gold", "own"] = Field(
        default="none",
        description="Supervised start: none, on the historical fixes, or on the base's own verified answers.",
    )
    warm_start_epochs: PositiveInt = Field(default=1, description="Passes over the warm start's answers.")
    warm_start_learning_rate: float = Field(default=1e-4, gt=0, le=1, description="Learning rate of the warm start.")
    warm_start_batch_size: PositiveInt = Field(default=16, description="Answers a step of the warm start.")
    evaluate_every: PositiveInt = Field(default=8, description="Steps between evaluations on the fold.")
    evaluation_samples: PositiveInt = Field(default=2, description="Answers to each fold issue in those evaluations.")
    patience: PositiveInt | None = Field(
        default=None, description="Evaluations without a better one before training stops; unset: never."
    )
    checkpoint_every: PositiveInt = Field(
        default=4, description="Steps between checkpoints; a killed run resumes at the last."
    )
    keep_checkpoints: PositiveInt = Field(default=2, description="Checkpoints kept beside the best.")
    stop_after_bad_losses: PositiveInt = Field(
        default=3, description="Losses in a row that are no number before the run stops."
    )

    @model_validator(mode="after")
    def _has_an_end(self) -> "TrainingConfig":
        if self.max_steps is None and self.epochs is None and self.max_minutes is None:
            raise ValueError("training needs an end: set max_steps, epochs or max_minutes")
        return self


class RewardsConfig(_Part):
    """What an answer is worth."""

    terms: dict[str, float] = Field(
        default={"resolved": 1.0},
        min_length=1,
        description="Reward terms by name or import path (module:function), with weights.",
    )
    allow_in_process: bool = Field(
        default=False, description="Train on verdicts that hostile code could forge; somebody has to want that."
    )
    no_verdict_alarm: float = Field(
        default=0.05, ge=0, le=1, description="Share of answers without verdict that stops the run."
    )


class DistributedConfig(_Part):
    """Where the work runs."""

    compute: Literal["local", "ray"] = Field(
        default="local",
        description="Sampling, verification, training and trials here, or on Ray.",
    )
    ray_address: str | None = Field(
        default=None, description="A running Ray cluster; unset starts one on this machine."
    )
    num_workers: PositiveInt = Field(
        default=1,
        description="Processes that sample and train side by side, here or on Ray; results do not depend on it.",
    )
    cpus_per_worker: PositiveInt = Field(default=1, description="CPUs that each worker asks Ray for.")
    gpus_per_worker: float = Field(default=0.0, ge=0, description="GPUs that each worker asks Ray for.")


class TrajectoriesConfig(_Part):
    """Fresh rollouts of the base model."""

    rollouts_per_issue: int = Field(
        default=4, ge=0, description="Answers sampled to each issue; 0 leaves only the fixes."
    )
    temperature: float = Field(default=0.8, gt=0, description="Of those samples.")
    endpoint: str | None = Field(
        default=None,
        pattern=r"^https?://\S+$",
        description="Base URL of an OpenAI-compatible server that answers in place of the model here: http://gpu:8000/v1.",
    )
    endpoint_model: str | None = Field(
        default=None, min_length=1, description="The model's name at the endpoint; unset: model.name."
    )
    endpoint_api: Literal["completions", "chat"] = Field(
        default="completions",
        description="completions: token ids to and fro, as vLLM has them; chat: messages and text, as every server does.",
    )
    endpoint_key: str = Field(
        default="", description="Name of the environment variable that holds the endpoint's API key."
    )
    endpoint_requests: PositiveInt = Field(default=16, description="Requests at the endpoint at a time.")
    endpoint_seconds: float = Field(default=600.0, gt=0, description="Wall time of one answer of the endpoint.")


class AgentConfig(_Part):
    """Limits of an episode, where the answer format is `agent`; `model.max_response_tokens` holds for all of its turns."""

    max_turns: PositiveInt = Field(default=8, description="Answers of the policy; the last one should submit.")
    turn_tokens: PositiveInt = Field(default=512, description="Tokens of one answer.")
    command_seconds: float = Field(default=30.0, gt=0, description="Wall time of one command.")
    max_seconds: float = Field(default=1800.0, gt=0, description="Wall time of episodes that are played side by side.")
    observation_characters: int = Field(
        default=2000, ge=100, description="Longer outputs are cut in the middle, for the policy to read."
    )


class SplitsConfig(_Part):
    """How issues are divided."""

    mode: Literal["group", "time", "repo"] = Field(
        default="group",
        description="What keeps the sides apart: functions, files or repositories; a date; or whole repositories.",
    )
    val_fraction: Fraction = Field(default=0.3, description="Share of the groups that is held out for validation.")
    test_fraction: float = Field(
        default=0.0, ge=0, lt=1, description="Share of the groups that is held out besides, for test_split."
    )
    before: date | None = Field(
        default=None, description="In mode time: training issues are from before this day (UTC), the others held out."
    )
    test_from: date | None = Field(
        default=None, description="In mode time: held-out issues from this day on are for test_split."
    )
    repository_from: PositiveInt = Field(
        default=5, description="In mode group: from so many repositories on, each is a group as a whole, not its files."
    )
    near_duplicates: float | None = Field(
        default=0.7,
        gt=0,
        le=1,
        description="Similarity from which two statements, or two fixes, are near-duplicates; null looks for none.",
    )
    min_tests: PositiveInt = Field(default=1, description="Training issues have at least so many tests, or cases.")
    drop_always_solved: bool = Field(
        default=False, description="Train on no issue that the base resolves in each of its rollouts."
    )
    drop_never_solved: bool = Field(
        default=False, description="Train on no issue that the base resolves in none of its rollouts."
    )
    decontaminate: tuple[str, ...] = Field(
        default=(), description="Ids of benchmarks; what is theirs, or nearly, is not trained on."
    )
    folds: Annotated[int, Field(ge=2)] = Field(
        default=6, description="Folds of the training split; fold 0 is for tuning and stopping."
    )
    seed: int = Field(default=0, ge=0, description="Of the assignment.")
    min_val_groups: PositiveInt = Field(default=2, description="Fewer held-out groups than this is an error.")

    @model_validator(mode="after")
    def _divides(self) -> "SplitsConfig":
        if self.mode == "time" and self.before is None:
            raise ValueError("mode time needs before, the first day that is held out, such as 2024-01-01")
        if self.before and self.test_from and self.test_from <= self.before:
            raise ValueError(f"test_from, {self.test_from}, must be later than before, {self.before}")
        if self.val_fraction + self.test_fraction >= 1:
            raise ValueError(
                f"val_fraction {self.val_fraction} and test_fraction {self.test_fraction} leave nothing to train on"
            )
        return self


class SearchRange(_Part):
    """The values that tuning may try for one key."""

    low: float | None = Field(default=None, description="Smallest value.")
    high: float | None = Field(default=None, description="Largest value.")
    log: bool = Field(default=False, description="Search by orders of magnitude.")
    choices: tuple[float | int | str, ...] | None = Field(default=None, description="Or one of these.")

    @model_validator(mode="after")
    def _range_or_choices(self) -> "SearchRange":
        if self.choices is None and (self.low is None or self.high is None or self.low >= self.high):
            raise ValueError("give low < high, or choices")
        if self.choices is not None and (self.low is not None or self.high is not None or self.log):
            raise ValueError("give choices, or low and high, not both")
        return self


class TuningConfig(_Part):
    """The search for hyperparameters, on a fold of the training split."""

    trials: int = Field(default=3, ge=0, description="Trials; 0 keeps the defaults.")
    steps: PositiveInt = Field(default=2, description="Training steps of each trial.")
    issues: PositiveInt = Field(default=16, description="Fold issues that each trial is measured on.")
    space: dict[str, SearchRange] = Field(
        default={"training.learning_rate": SearchRange(low=5e-5, high=4e-4, log=True)},
        description="Config keys and the values to try.",
    )


class EvaluationConfig(_Part):
    """The comparison with the untouched base, and the gate."""

    samples: PositiveInt = Field(default=8, description="Answers to each held-out issue at the sampling temperature.")
    temperature: float = Field(default=0.6, gt=0, description="Of those samples.")
    greedy: bool = Field(default=True, description="Also compare one greedy answer to each issue.")
    max_issues: PositiveInt | None = Field(
        default=None, description="Held-out issues at most, spread over the groups; unset: all."
    )
    resamples: PositiveInt = Field(default=10_000, description="Bootstrap resamples of the groups.")
    seed: int = Field(default=1234, ge=0, description="Of sampling and bootstrap.")
    gate: Literal["beats_base", "loads_and_answers"] = Field(
        default="beats_base", description="What a checkpoint must show before it is deployed."
    )
    alpha: Fraction = Field(default=0.05, description="Level of the one-sided test that the LoRA beats its base.")


class ServingConfig(_Part):
    """The endpoint."""

    target: Literal["local", "kserve"] = Field(
        default="local", description="A process on this machine, or a KServe InferenceService."
    )
    name: str = Field(
        default="rllm",
        pattern=r"^[a-z]([a-z0-9\-]{0,38}[a-z0-9])?$",
        description="Of the endpoint and the served model; deployed_endpoint adds the benchmark: rllm-pocket.",
    )
    port: int = Field(
        default=0, ge=0, le=65535, description="Of the local endpoint; 0 keeps the last one or takes a free one."
    )
    timeout_seconds: float = Field(default=180.0, gt=0, description="To be healthy by.")
    namespace: str = Field(default="rllm", description="Kubernetes namespace of the InferenceService.")
    adapter_uri: str | None = Field(
        default=None, description="Where KServe loads the adapter from: s3://, gs://, pvc://, hf://."
    )
    base_uri: str | None = Field(default=None, description="Where KServe loads the base model from.")
    gpus: int = Field(default=0, ge=0, description="GPUs of the InferenceService.")


class RLLMConfig(_Part):
    """Everything that can be set."""

    @classmethod
    def from_yaml(cls, path: Path | str) -> "RLLMConfig":
        """Read a configuration from a file of nested or dotted keys.

        Raises:
            rllm_assets.config.ConfigError: where it cannot be read, or a key is unknown, out of range or without effect.
        """
        from rllm_assets.config.resolve import read_layer, resolve

        return resolve(read_layer(Path(path))).config

    def to_yaml(self) -> str:
        """Return the keys that were set, as `from_yaml` reads them."""
        return yaml.safe_dump(self.model_dump(mode="json", exclude_unset=True), sort_keys=False)

    @model_validator(mode="after")
    def _lengthens(self) -> "RLLMConfig":
        stages = sorted(self.training.lengthening.items())
        tokens = [*(limit for _, limit in stages), self.model.max_response_tokens]
        if any(later <= earlier for earlier, later in pairwise(tokens)):
            raise ValueError(
                f"training.lengthening must grow towards model.max_response_tokens, not {', '.join(map(str, tokens))}"
            )
        return self

    model: ModelConfig = Field(default_factory=ModelConfig, description="Base model and LoRA.")
    training: TrainingConfig = Field(description="Reinforcement learning and warm start.")
    rewards: RewardsConfig = Field(default_factory=RewardsConfig, description="Reward terms.")
    distributed: DistributedConfig = Field(default_factory=DistributedConfig, description="Compute.")
    trajectories: TrajectoriesConfig = Field(default_factory=TrajectoriesConfig, description="Rollouts of the base.")
    agent: AgentConfig = Field(default_factory=AgentConfig, description="Episodes in several turns.")
    splits: SplitsConfig = Field(default_factory=SplitsConfig, description="Train and validation.")
    tuning: TuningConfig = Field(default_factory=TuningConfig, description="Hyperparameter search.")
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="Comparison and gate.")
    serving: ServingConfig = Field(default_factory=ServingConfig, description="Endpoint.")
