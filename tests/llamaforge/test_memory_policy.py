"""The policy for memory: single decisions by example, and every run of a simulated machine by property."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llamaforge import backends
from llamaforge.exceptions import ConfigError
from llamaforge.memory import devices as devices_module
from llamaforge.memory.devices import by_device, default_budget, parse_budget
from llamaforge.memory.policy import OVERDUE_SECONDS, Claim, Evict, Refuse, Resident, Start, Wait, admit, overflow
from llamaforge.memory.queue import RoomQueue

GB = 10**9
BUDGET = {"ram": 10 * GB}


def of(name, gigabytes, state="idle", **more):
    return Resident(name, {"ram": gigabytes * GB}, state, **more)


def claim(name, gigabytes, **more):
    return Claim(name, {"ram": gigabytes * GB}, **more)


# ---- by example


def test_what_fits_starts():
    assert admit(claim("a", 4), [of("b", 6, "busy")], BUDGET, 0) == Start()


def test_no_budget_is_no_limit():
    assert admit(claim("a", 4000), [of("b", 6000, "busy")], {}, 0) == Start()


def test_a_model_of_unknown_size_starts():
    assert admit(Claim("a", {}), [of("b", 10, "busy")], BUDGET, 0) == Start()


def test_the_least_recently_used_goes_and_no_more_than_needed():
    residents = [of("b", 4, used=3), of("c", 3, used=1), of("d", 3, used=2)]
    assert admit(claim("a", 3), residents, BUDGET, 0) == Evict(("c",))
    assert admit(claim("a", 5), residents, BUDGET, 0) == Evict(("c", "d"))
    assert admit(claim("a", 7), residents, BUDGET, 0) == Evict(("c", "b"))
    # as b must go anyway, others that went before it may stay
    assert admit(claim("a", 4), [of("b", 7, used=2), of("c", 3, used=1)], BUDGET, 0) == Evict(("b",))


def test_nothing_is_evicted_in_vain():
    residents = [of("busy", 6, "busy"), of("idle", 2)]
    assert admit(claim("huge", 8, deadline=9), residents, BUDGET, 0) == Wait()


def test_the_room_of_those_that_leave_is_waited_for():
    residents = [of("b", 6, "leaving"), of("idle", 2)]
    assert admit(claim("a", 8), residents, BUDGET, 0) == Wait()
    assert admit(claim("a", 8), [of("idle", 2)], BUDGET, 0) == Start()
    assert admit(claim("a", 9), residents, BUDGET, 0) == Evict(("idle",))


def test_reserved_room_is_nobody_elses():
    residents = [of("b", 6, "leaving"), of("c", 8, "reserved")]
    assert admit(claim("a", 3), residents, BUDGET, 0) == Wait()
    assert admit(claim("a", 2), residents, BUDGET, 0) == Start()
    assert admit(claim("a", 2), [of("b", 9, "leaving"), of("c", 8, "reserved")], BUDGET, 0) == Wait()


def test_larger_than_the_budget_is_refused_at_once():
    refusal = admit(claim("a", 11), [of("b", 6, "busy")], BUDGET, 0)
    assert refusal == Refuse(
        "The model 'a' needs about 11.0 GB of memory, and all models together may take 10.0 GB", too_large=True
    )


def test_at_its_deadline_a_claim_is_refused_with_those_in_use():
    residents = [of("b", 6, "busy"), of("c", 2)]
    asked = claim("a", 8, since=0, deadline=5)
    assert admit(asked, residents, BUDGET, 4.9) == Wait()
    assert admit(asked, residents, BUDGET, 5) == Refuse(
        "There is no room for the model 'a' (8.0 GB of 10.0 GB): in use are b"
    )
    assert admit(asked, [of("c", 2)], BUDGET, 5) == Start()


def test_what_only_the_caller_itself_holds_is_not_waited_for():
    residents = [of("b", 6, "busy", pinned=True)]
    assert isinstance(admit(claim("a", 8), residents, BUDGET, 0), Refuse)
    assert admit(claim("a", 4), [*residents, of("c", 4, "busy")], BUDGET, 0) == Wait()


def test_a_claim_that_waits_lets_others_pass_until_it_is_overdue():
    residents = [of("b", 6, "busy")]
    huge = claim("huge", 8, since=1)
    assert admit(claim("a", 4), residents, BUDGET, OVERDUE_SECONDS, [huge]) == Start()
    assert admit(claim("a", 4), residents, BUDGET, OVERDUE_SECONDS + 1, [huge]) == Wait()
    # beside it there is room
    assert admit(claim("a", 2), residents, BUDGET, OVERDUE_SECONDS + 1, [huge]) == Start()
    passed = [*residents, of("c", 1, "busy", started=2)]
    assert admit(claim("a", 2), passed, BUDGET, OVERDUE_SECONDS + 1, [huge]) == Wait()


def test_each_device_counts_for_itself():
    budget = {"ram": 10, "cuda:0": 10, "cuda:1": 10}
    residents = [
        Resident("old", {"cuda:1": 9}, used=1),
        Resident("new", {"cuda:0": 9, "ram": 1}, used=2),
        Resident("busy", {"ram": 5}, "busy"),
    ]
    assert admit(Claim("a", {"cuda:0": 5}), residents, budget, 0) == Evict(("new",))
    assert admit(Claim("a", {"ram": 4}), residents, budget, 0) == Start()
    assert admit(Claim("a", {"ram": 6}), residents, budget, 0) == Wait()
    assert admit(Claim("a", {"cuda:0": 5, "cuda:1": 5}), residents, budget, 0) == Evict(("old", "new"))
    refusal = admit(Claim("a", {"cuda:0": 11}), [], budget, 0)
    assert "11 B of the memory of cuda:0" in refusal.reason
    residents = [Resident("b", {"cuda:0": 9}, "busy"), Resident("c", {"ram": 9}, "busy")]
    refusal = admit(Claim("a", {"cuda:0": 5}, deadline=0), residents, budget, 0)
    assert refusal.reason.endswith("(5 B of 10 B of cuda:0): in use are b")


def test_an_overflow_takes_idle_models_until_it_is_over():
    residents = [of("a", 5, used=1), of("b", 4, used=2), of("c", 4, "busy"), of("d", 9, "leaving")]
    assert overflow(residents, BUDGET) == ("a",)
    assert overflow(residents, {"ram": 20 * GB}) == ()
    assert overflow(residents, {"ram": 3 * GB}) == ("a", "b")
    assert overflow([of("c", 11, "busy")], BUDGET) == ()


# ---- every run of a simulated machine


class Machine:
    """Loads, uses and unloads by the queue's decisions. Time goes in steps; every use ends after its number of steps."""

    def __init__(self, budget):
        self.budget = budget
        self.queue = RoomQueue()
        self.now = 0.0
        self.models = {}  # name: [memory, state, steps left, used, started]
        self.started = []
        self.refused = []
        self.uses = {}

    def ask(self, name, memory, use):
        self.uses[name] = use
        self.queue.join(Claim(name, memory, self.now))

    def residents(self, _ticket):
        return [
            Resident(name, memory, state, used, started)
            for name, (memory, state, _left, used, started) in self.models.items()
        ]

    def step(self):
        self.now += 1
        for name, model in tuple(self.models.items()):
            model[2] -= 1
            if model[2] <= 0 and model[1] == "busy":
                model[1], model[3] = "idle", self.now
            elif model[2] <= 0 and model[1] == "leaving":
                del self.models[name]
        for ticket, decision in self.queue.decide(self.residents, self.budget, self.now):
            match decision:
                case Start():
                    self.models[ticket.claim.name] = [
                        ticket.claim.memory,
                        "busy",
                        self.uses[ticket.claim.name],
                        self.now,
                        self.now,
                    ]
                    self.started.append(ticket.claim.name)
                case Evict(names):
                    self.check_eviction(ticket.claim, names)
                    for name in names:
                        self.models[name][1:3] = ["leaving", 2]
                case Refuse(too_large=too_large):
                    assert too_large
                    self.refused.append(ticket.claim.name)
            self.check_budget()

    def check_budget(self):
        for device, limit in self.budget.items():
            assert sum(model[0].get(device, 0) for model in self.models.values()) <= limit

    def check_eviction(self, claim, names):
        assert all(self.models[name][1] == "idle" for name in names)
        for spared in names:  # none of them could have stayed
            gone = set(names) - {spared}
            staying = [m[0] for name, m in self.models.items() if name not in gone and m[1] != "leaving"]
            rooms = [t.claim.memory for t in self.queue._tickets if t.reserved]
            everything = [*staying, *rooms] if claim.memory in rooms else [*staying, *rooms, claim.memory]
            assert any(
                sum(memory.get(device, 0) for memory in everything) > limit for device, limit in self.budget.items()
            )


DEVICES = ("ram", "cuda:0")
MEMORIES = st.dictionaries(st.sampled_from(DEVICES), st.integers(0, 12), max_size=2)
LOADS = st.lists(st.tuples(st.integers(0, 4), MEMORIES, st.integers(1, 15)), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(LOADS, st.fixed_dictionaries({"ram": st.just(10)}, optional={"cuda:0": st.just(8)}))
def test_the_budget_holds_and_every_load_that_can_fit_gets_its_turn(loads, budget):
    machine = Machine(budget)
    for number, (pause, memory, use) in enumerate(loads):
        for _ in range(pause):
            machine.step()
        machine.ask(f"m{number}", memory, use)
        machine.step()
    for _ in range(25 * len(loads)):
        machine.step()
    fits = {f"m{n}" for n, (_, memory, _) in enumerate(loads) if all(memory.get(d, 0) <= b for d, b in budget.items())}
    assert set(machine.started) == fits
    assert set(machine.refused) == {f"m{number}" for number in range(len(loads))} - fits


def test_a_large_load_is_not_starved_by_a_stream_of_small_ones():
    machine = Machine({"ram": 10})
    machine.ask("first", {"ram": 6}, 30)
    machine.step()
    machine.ask("huge", {"ram": 8}, 1)
    for number in range(200):
        machine.ask(f"small{number}", {"ram": 3}, 7)
        machine.step()
        if "huge" in machine.started:
            break
    assert "small0" in machine.started  # some have passed
    assert number < 60


STATES = st.tuples(
    MEMORIES,
    st.sampled_from(("idle", "busy", "leaving", "reserved")),
    st.integers(0, 9),
    st.integers(0, 9),
    st.booleans(),
)


@settings(max_examples=200)
@given(st.lists(STATES, max_size=6), MEMORIES)
def test_single_decisions_on_any_state(given_residents, memory):
    residents = [Resident(str(number), *one) for number, one in enumerate(given_residents)]
    budget = {"ram": 30, "cuda:0": 20}
    decision = admit(Claim("new", memory), residents, budget, 50)
    budget = {device: limit for device, limit in budget.items() if memory.get(device)}
    states = {one.name: one for one in residents}

    def total(kept, device):
        return sum(one.memory.get(device, 0) for one in kept) + memory.get(device, 0)

    match decision:
        case Start():
            present = [one for one in residents if one.state != "reserved"]
            assert all(total(present, device) <= limit for device, limit in budget.items())
        case Evict(names):
            assert names
            assert all(states[name].state == "idle" for name in names)
            kept = [one for one in residents if one.name not in names and one.state != "leaving"]
            assert all(total(kept, device) <= limit for device, limit in budget.items())
        case Wait() | Refuse():
            # Not in vain: even without all that is idle it would not fit, or room that is being freed is worth the wait.
            freed = any(one.state == "leaving" for one in residents)
            needed = [one for one in residents if one.state != "idle" or freed]
            assert any(total(needed, device) > limit for device, limit in budget.items())


def test_a_device_on_which_it_takes_nothing_does_not_matter():
    crowded = [Resident("grown", {"ram": 11 * GB}, "busy")]
    assert admit(Claim("a", {"cuda:0": 1}, deadline=0), crowded, {**BUDGET, "cuda:0": 2}, 0) == Start()
    assert admit(Claim("a", {"ram": 0}, deadline=0), crowded, BUDGET, 0) == Start()


# ---- amounts by device


def test_budgets_as_they_are_written():
    assert parse_budget("12GB") == {"ram": 12 * GB}
    assert parse_budget({"ram": "1GB", "cuda:0": 5}) == {"ram": GB, "cuda:0": 5}
    assert by_device(3) == {"ram": 3}
    assert by_device(None) == {}
    assert by_device({"cuda:0": 1}) == {"cuda:0": 1}


@pytest.mark.parametrize(
    "value", [{"gpu": "1GB"}, {0: "1GB"}, {"cuda:": 1}, {"ram": "much"}, "much", [], {"ram": None}]
)
def test_budgets_that_are_none(value):
    with pytest.raises(ConfigError, match=r"no amount of memory|no device"):
        parse_budget(value)


def test_a_device_without_a_budget_gets_a_share_of_what_it_has(monkeypatch):
    monkeypatch.setattr(devices_module, "gpu_memory", lambda: {"cuda:0": 100, "cuda:1": 200})
    monkeypatch.setattr(devices_module, "machine_memory", lambda: 1000)
    assert default_budget({"cuda:1": 7}) == {"ram": 800, "cuda:0": 80, "cuda:1": 7}
    monkeypatch.setattr(devices_module, "machine_memory", lambda: None)
    assert default_budget() == {"cuda:0": 80, "cuda:1": 160}


def test_a_machine_without_a_driver_has_no_gpus(monkeypatch):
    monkeypatch.setattr(devices_module.ctypes, "CDLL", lambda _name: (_ for _ in ()).throw(OSError("not there")))
    assert devices_module.gpu_memory.__wrapped__() == {}


class Driver:
    """NVIDIA's library as far as it is asked, with two GPUs."""

    def nvmlInit_v2(self):  # noqa: N802
        return 0

    def nvmlDeviceGetCount_v2(self, count):  # noqa: N802
        count._obj.value = 2

    def nvmlDeviceGetHandleByIndex_v2(self, number, handle):  # noqa: N802
        handle._obj.value = number + 7
        return 0

    def nvmlDeviceGetMemoryInfo(self, handle, amount):  # noqa: N802
        amount._obj[0] = handle.value * GB

    def nvmlShutdown(self):  # noqa: N802
        return 0


@pytest.mark.parametrize(
    ("visible", "found"),
    [
        (None, {"cuda:0": 7 * GB, "cuda:1": 8 * GB}),
        ("1", {"cuda:0": 8 * GB}),
        ("1,0", {"cuda:0": 8 * GB, "cuda:1": 7 * GB}),
        ("", {}),
        ("5", {}),
        ("-1", {}),
        ("1,-1,0", {"cuda:0": 8 * GB}),
        ("GPU-7d1c", {}),
    ],
)
def test_gpus_are_those_that_the_process_may_see(monkeypatch, visible, found):
    monkeypatch.setattr(devices_module.ctypes, "CDLL", lambda _name: Driver())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices_module.gpu_memory.__wrapped__() == found


def test_a_model_is_counted_where_its_backend_puts_it(monkeypatch):
    huggingface, llama = (backends.get_backend(name).memory_device for name in ("huggingface", "llama.cpp"))
    assert (huggingface({}), llama({"n_gpu_layers": 9})) == ("ram", "ram")
    monkeypatch.setattr(devices_module, "gpu_memory", lambda: {"cuda:0": GB, "cuda:1": GB})
    assert [huggingface({"device": name}) for name in ("auto", "cuda", "cuda:1", "cpu", "cuda:9")] == [
        *("cuda:0", "cuda:0", "cuda:1", "ram", "ram")
    ]
    assert [llama({"n_gpu_layers": -1}), llama({"n_gpu_layers": 5, "main_gpu": 1}), llama({"n_gpu_layers": 0})] == [
        *("cuda:0", "cuda:1", "ram")
    ]


def test_what_limits_the_machines_memory(monkeypatch, tmp_path):
    """The control group of the process itself and those around it count, not only the container's."""
    own = tmp_path / "cgroup"
    monkeypatch.setattr(devices_module, "CGROUPS", tmp_path / "fs")
    monkeypatch.setattr(devices_module, "OWN_CGROUP", own)
    whole = devices_module.machine_memory()
    group = tmp_path / "fs" / "system.slice" / "oui.service"
    group.mkdir(parents=True)
    own.write_text("4:memory:/x\n0::/system.slice/oui.service\n")
    assert devices_module.machine_memory() == whole
    (group / "memory.max").write_text("max\n")
    (group.parent / "memory.max").write_text("3000000\n")
    assert devices_module.machine_memory() == 3_000_000
    (group / "memory.max").write_text("2000000\n")
    assert devices_module.machine_memory() == 2_000_000
    (tmp_path / "fs" / "memory.max").write_text("1000000\n")
    assert devices_module.machine_memory() == 1_000_000
    own.write_text("0::/../outside\n")
    assert devices_module.machine_memory() == 1_000_000
    own.unlink()
    assert devices_module.machine_memory() == 1_000_000
