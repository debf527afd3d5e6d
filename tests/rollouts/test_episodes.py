"""Episodes in several turns: what is done, what is seen, which tokens are learned, and where they end."""

from dataclasses import dataclass, field

import pytest
from transformers import AutoTokenizer

from rllm_assets.config import AgentConfig, RewardsConfig
from rllm_assets.data.answers import answer_format
from rllm_assets.data.issues import Case, FunctionTask, Issue, Source
from rllm_assets.data.verdicts import Verdict
from rllm_assets.models.sampler import Sample
from rllm_assets.rewards import Scorer
from rllm_assets.rollouts import Judge, collect, to_attempt
from rllm_assets.rollouts.episodes import observation_tokens
from rllm_assets.verification.shell import Ran

AGENT = answer_format("agent")
BUGGY, FIXED = "def half(x):\n    return x // 2\n", "def half(x):\n    return x / 2\n"
EDIT = "### money.py\n<<<<<<< SEARCH\n    return x // 2\n=======\n    return x / 2\n>>>>>>> REPLACE\n"
SUBMIT = "```bash\nsubmit\n```"
LOOK = "I look.\n```bash\ncat money.py\n```"


def an_issue(name="i"):
    task = FunctionTask(
        module="money", entry_point="half", buggy_code=BUGGY, fixed_code=FIXED, cases=(Case(args=[1], returns=0.5),)
    )
    return Issue(
        instance_id=name,
        repo="r",
        problem_statement="half(1) is 0",
        task=task,
        source=Source(benchmark="b", kind="k", file="f"),
    )


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model)


@dataclass
class Scripted:
    """A policy that says what it is told to, a list for each episode; it keeps the prompts that it was given."""

    tokenizer: object
    scripts: list[list[str]]
    asked: list[list[int]] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    told: int = 0

    def sample(self, prompts, samples, *, temperature, max_tokens, seeds, stop, progress=None):
        first = not self.asked
        self.asked += [list(prompt) for prompt in prompts]
        self.seeds += list(seeds)
        waiting = [script for script in self.scripts if script]
        count = len(prompts) * samples
        assert len(waiting) >= count
        said = [script.pop(0) for script in waiting[:count]]
        assert samples == 1 or first
        answers = [self.answer(text, max_tokens) for text in said]
        return [answers[i : i + samples] for i in range(0, count, samples)]

    def answer(self, text, max_tokens):
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        if not text.endswith("```"):
            ids = [*ids, self.tokenizer.eos_token_id]
        return Sample(ids[:max_tokens], [-0.5] * len(ids[:max_tokens]), text, len(ids) <= max_tokens)


@dataclass
class Recorded:
    """A verifier that keeps what it was given, and prints a file when a command says so."""

    candidates: list = field(default_factory=list)
    commands: list = field(default_factory=list)
    failure: str = ""

    def verify_many(self, jobs):
        self.candidates += [candidate for _, candidate in jobs]
        good = [candidate == FIXED for candidate in self.candidates[-len(jobs) :]] if jobs else []
        return [Verdict(status="resolved" if is_good else "failed", tests_total=1) for is_good in good]

    def run_commands(self, commands, seconds):
        self.commands += [command.line for command in commands]
        return [
            Ran({"made.py": "1\n"} if command.line == "touch" else {}, command.tree["money.py"], 0, self.failure)
            for command in commands
        ]


def play(tokenizer, *scripts, verifier=None, limits=None, most=4000, samples=None, temperature=1.0):
    policy = Scripted(tokenizer, [list(script) for script in scripts])
    verifier = verifier or Recorded()
    judge = Judge(AGENT, verifier, Scorer(RewardsConfig(), for_training=True), limits or AgentConfig())
    (group,) = collect(
        policy,
        tokenizer,
        judge,
        [an_issue()],
        samples=samples or len(scripts),
        temperature=temperature,
        max_prompt_tokens=4000,
        max_response_tokens=most,
        seeds=[7],
    )
    return group, policy, verifier


def test_edits_are_made_seen_by_commands_and_judged(tokenizer):
    (rollout,), _, verifier = play(tokenizer, [EDIT, LOOK, SUBMIT])
    assert verifier.commands == ["cat money.py"]
    assert verifier.candidates == [FIXED]
    assert [turn["role"] for turn in rollout.turns] == ["assistant", "user", "assistant", "user", "assistant"]
    assert rollout.turns[1]["content"] == "Edited: money.py"
    assert rollout.turns[3]["content"] == FIXED.strip("\n")
    assert rollout.sample.finished
    assert rollout.reward == 1.0


def test_tokens_are_those_that_were_sampled_with_the_template_between_them(tokenizer):
    (rollout,), policy, _ = play(tokenizer, [EDIT, SUBMIT])
    sample = rollout.sample
    said = [policy.answer(text, 4000).token_ids for text in (EDIT, SUBMIT)]
    between = observation_tokens(tokenizer, "Edited: money.py", said[0][-1])
    assert sample.token_ids == [*said[0], *between, *said[1]]
    assert sample.given == tuple([False] * len(said[0]) + [True] * len(between) + [False] * len(said[1]))
    assert sample.length == len(said[0]) + len(said[1]) == len(sample.logprobs)
    # The second turn was asked for with everything before it.
    assert policy.asked[1] == [*rollout.prompt_ids, *said[0], *between]
    whole = tokenizer.apply_chat_template(
        [*AGENT.prompt(an_issue()), {"role": "assistant", "content": EDIT}, *rollout.turns[1:2]],
        add_generation_prompt=True,
        tokenize=False,
    )
    assert tokenizer.decode(policy.asked[1]) == tokenizer.decode(
        tokenizer(whole, add_special_tokens=False)["input_ids"]
    )


def test_the_end_of_an_answer_is_written_once(tokenizer):
    eos = tokenizer.eos_token_id
    after_eos = observation_tokens(tokenizer, "seen", eos)
    after_text = observation_tokens(tokenizer, "seen", 5)
    assert after_text == [eos, *after_eos]


@pytest.mark.parametrize(
    ("script", "limits", "most", "finished", "answers"),
    [
        ([LOOK, LOOK, SUBMIT], {"max_turns": 2}, 4000, False, 2),
        ([LOOK, SUBMIT], {"turn_tokens": 4}, 4000, False, 1),
        ([LOOK, SUBMIT], {}, 12, False, 1),
        ([LOOK, SUBMIT], {}, 4000, True, 2),
    ],
)
def test_limits_end_an_episode_and_what_was_done_is_judged(tokenizer, script, limits, most, finished, answers):
    (rollout,), _, verifier = play(tokenizer, script, limits=AgentConfig(**limits), most=most)
    assert rollout.sample.finished is finished
    assert sum(turn["role"] == "assistant" for turn in rollout.turns) == answers
    assert len(rollout.sample.token_ids) <= most
    assert not rollout.sample.given[-1]
    assert verifier.candidates == [BUGGY]
    assert rollout.verdict.status == "failed"


def test_a_turn_without_an_action_and_a_wrong_edit_are_told(tokenizer):
    wrong = EDIT.replace("return x // 2", "return y")
    (rollout,), _, verifier = play(tokenizer, ["I think.", wrong, SUBMIT])
    assert rollout.turns[1]["content"].startswith("There is neither an edit nor a ```bash block")
    assert "Not edited: block 1 of 1, money.py: SEARCH is not in the file" in rollout.turns[3]["content"]
    assert verifier.commands == []


def test_episodes_of_a_group_go_on_by_themselves(tokenizer):
    group, policy, verifier = play(tokenizer, [SUBMIT], [EDIT, SUBMIT], [LOOK, EDIT + SUBMIT])
    assert [rollout.reward for rollout in group] == [0.0, 1.0, 1.0]
    assert verifier.candidates == [BUGGY, FIXED, FIXED]
    # The prompt of the group is asked once; then each episode by itself, with a seed of its own.
    assert len(policy.asked) == 3
    assert len(set(policy.seeds)) == 3


def test_temperatures_belong_to_episodes(tokenizer):
    group, _, _ = play(tokenizer, [LOOK, SUBMIT], [LOOK, SUBMIT], temperature=[0.6, 0.0], samples=2)
    assert [rollout.sample.finished for rollout in group] == [True, True]


def test_a_sandbox_that_fails_gives_no_verdict(tokenizer):
    (rollout,), _, verifier = play(tokenizer, [LOOK, SUBMIT], verifier=Recorded(failure="it is broken"))
    assert (rollout.verdict.status, rollout.verdict.reason, rollout.reward) == ("no_verdict", "it is broken", None)
    assert verifier.candidates == []


def test_an_attempt_keeps_every_turn(tokenizer):
    from rllm_assets.data.trajectories import Attempt

    (rollout,), _, _ = play(tokenizer, [LOOK, EDIT, SUBMIT])
    attempt = to_attempt(rollout, AGENT, 0, "p")
    assert Attempt.from_row(attempt.to_row()) == attempt
    assert attempt.candidate == FIXED
    assert [message["role"] for message in attempt.messages] == [
        "system",
        "user",
        *("assistant", "user") * 2,
        "assistant",
    ]
    (trajectory,) = attempt.to_episode().trajectories
    assert [step.model_response for step in trajectory.steps] == [LOOK, EDIT, SUBMIT]
    assert [step.observation for step in trajectory.steps] == [None, BUGGY.strip("\n"), "Edited: money.py"]
    assert [step.done for step in trajectory.steps] == [False, False, True]
    assert [step.reward for step in trajectory.steps] == [0.0, 0.0, 1.0]


def test_the_gold_answer_is_an_edit_that_submits():
    action = AGENT.act(AGENT.gold(an_issue()))
    assert (action.command, action.submits) == (None, True)
    assert AGENT.extract(an_issue(), AGENT.gold(an_issue())) == FIXED
