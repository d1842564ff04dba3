"""The CRF against enumeration of all paths, and its gradient against finite differences."""

from __future__ import annotations

import itertools

import pytest
import torch

from ke_t5.models import crf as crf_module
from ke_t5.models.crf import CRF
from ke_t5.models.structured_heads import iob2_forbidden

LENGTHS = [4, 1, 3, 0]
TAGS = ("B-X", "I-X", "B-Y", "I-Y", "O")


def mask_of(lengths, steps=4):
    return torch.arange(steps) < torch.tensor(lengths).unsqueeze(1)


def make_case(num_tags=3, scale=1.0, seed=0, dtype=torch.float64, lengths=LENGTHS):
    generator = torch.Generator().manual_seed(seed)
    crf = CRF(num_tags).to(dtype)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
    shape = (len(lengths), 4, num_tags)
    emissions = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) * scale
    tags = torch.randint(num_tags, shape[:2], generator=generator)
    return crf, emissions, tags, mask_of(lengths)


def paths_with_scores(crf, emissions, forbidden=None):
    """All paths of one sentence [L, T] with their scores."""
    start, transitions = crf.start_transitions.clone(), crf.transitions.clone()
    if forbidden is not None:
        start[forbidden[-1]] = -torch.inf
        transitions[forbidden[:-1]] = -torch.inf
    found = []
    for path in itertools.product(range(crf.num_tags), repeat=len(emissions)):
        score = start[path[0]] + crf.end_transitions[path[-1]]
        score = score + sum(emissions[t, tag] for t, tag in enumerate(path))
        score = score + sum(transitions[a, b] for a, b in itertools.pairwise(path))
        found.append((path, score))
    return found


def enumerated_loss(crf, emissions, tags, mask, forbidden=None):
    """The negative log-likelihoods by enumeration; unknown tags are summed over."""
    losses = []
    for row_emissions, row_tags, row_mask in zip(emissions, tags, mask, strict=True):
        if not row_mask.any():
            losses.append(torch.zeros((), dtype=emissions.dtype))
            continue
        gold = row_tags[row_mask].tolist()
        paths = paths_with_scores(crf, row_emissions[row_mask], forbidden)
        fits = [s for p, s in paths if all(g < 0 or g == t for g, t in zip(gold, p, strict=True))]
        all_scores = torch.stack([score for _, score in paths])
        losses.append(all_scores.logsumexp(0) - torch.stack(fits).logsumexp(0))
    return torch.stack(losses)


def grads(loss, crf, emissions):
    return torch.autograd.grad(loss.sum(), [emissions, *crf.parameters()])


@pytest.mark.parametrize("scale", [1.0, 30.0, 1000.0])
@pytest.mark.parametrize("unknown", [False, True])
def test_loss_and_gradient_equal_enumeration(scale, unknown):
    crf, emissions, tags, mask = make_case(scale=scale)
    if unknown:
        tags[0, 1:3] = tags[2, 2] = -100
    emissions.requires_grad_()
    expected = enumerated_loss(crf, emissions, tags, mask)
    got = crf(emissions, tags, mask)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-12)
    for ours, theirs in zip(
        grads(got, crf, emissions), grads(expected, crf, emissions), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("limit", [1, 64], ids=["values only", "back-pointers"])
def test_decode_equals_enumeration(limit, monkeypatch):
    monkeypatch.setattr(crf_module, "VALUES_ONLY_TAGS", limit)
    crf, emissions, _, mask = make_case(scale=2.0, seed=3)
    best = [
        list(max(paths_with_scores(crf, row[keep]), key=lambda found: found[1])[0])
        if keep.any()
        else []
        for row, keep in zip(emissions, mask, strict=True)
    ]
    assert crf.decode(emissions, mask) == best


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_the_search_among_many_tags_is_exact(scale, monkeypatch):
    crf, emissions, _, mask = make_case(num_tags=80, seed=5, lengths=[4, 4, 2, 3])
    with torch.no_grad():
        crf.transitions *= scale
    few = crf.decode(emissions, mask)
    monkeypatch.setattr(crf_module, "VALUES_ONLY_TAGS", 100)
    assert few == crf.decode(emissions, mask)


def test_gradcheck():
    crf, emissions, tags, mask = make_case(lengths=[4, 2])
    tags[1, 0] = -100
    weights = torch.tensor([0.3, 1.7], dtype=torch.float64)
    parameters = tuple(crf.parameters())

    def loss(emissions, *parameters):
        return crf(emissions, tags, mask) * weights

    assert torch.autograd.gradcheck(loss, (emissions.requires_grad_(), *parameters))


@pytest.mark.parametrize("lengths", [LENGTHS, [4, 4, 4, 4], [0, 2, 4, 1]])
@pytest.mark.parametrize("constrained", [False, True])
def test_without_asking_for_a_value_the_loss_and_its_gradient_are_the_same(
    lengths, constrained, monkeypatch
):
    found = []
    for has_queue in (False, True):
        crf, emissions, tags, mask = make_case(num_tags=5, dtype=torch.float32, lengths=lengths)
        tags[:, 0] = tags[1] = -100
        mask = mask.flip(1)  # moved to the front first
        emissions.requires_grad_()
        monkeypatch.setattr(crf_module, "_has_queue", lambda _, x=has_queue: x)
        with monkeypatch.context() as patch:
            if has_queue:
                for name in ("__bool__", "tolist", "item"):
                    patch.setattr(torch.Tensor, name, None)
            loss = crf(emissions, tags, mask, iob2_forbidden(TAGS) if constrained else None)
            loss.sum().backward()
        assert loss.dtype == emissions.grad.dtype == torch.float32
        found.append([loss, emissions.grad, *(one.grad for one in crf.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-5)


def test_a_tag_that_was_rounded_to_zero_and_wins_later_is_counted():
    # Without the log-space sweep, tag 1 would be lost at the first position (exp(-110) in float32).
    crf = CRF(2)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.zero_()
        crf.transitions[0, 1] = crf.transitions[1, 0] = -1e4
    emissions = torch.tensor([[[110.0, 0.0], [0.0, 60.0], [0.0, 60.0]]])
    loss = crf(emissions, torch.ones(1, 3, dtype=torch.long), torch.ones(1, 3, dtype=torch.bool))
    expected = torch.tensor([110.0, 120.0]).logsumexp(0) - 120
    torch.testing.assert_close(loss, expected.view(1), atol=2e-5, rtol=0)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_float32_agrees_with_float64_when_half_of_the_transitions_are_forbidden(scale):
    crf, emissions, tags, mask = make_case(num_tags=8, scale=scale, dtype=torch.float32)
    with torch.no_grad():
        crf.transitions[torch.rand(8, 8, generator=torch.Generator().manual_seed(1)) < 0.5] = -1e4
    single = crf(emissions, tags, mask)
    double = CRF(8).double()
    double.load_state_dict(crf.state_dict())
    torch.testing.assert_close(
        single.double(), double(emissions.double(), tags, mask), rtol=1e-5, atol=1e-4
    )


def test_bfloat16_emissions_are_computed_in_float32():
    crf, emissions, tags, mask = make_case(dtype=torch.float32)
    half = emissions.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = crf(half, tags, mask)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, crf(half.float(), tags, mask))


def test_a_gradient_asked_for_under_autocast_is_computed_in_float32():
    crf, emissions, tags, mask = make_case(dtype=torch.float32)
    crf(emissions, tags, mask).sum().backward()
    expected = crf.transitions.grad.clone()
    crf.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        crf(emissions, tags, mask).sum().backward()
    torch.testing.assert_close(crf.transitions.grad, expected)


def test_padding_and_gaps_change_nothing():
    crf, emissions, tags, mask = make_case(lengths=[3])
    gap = torch.tensor([[True, False, True, True]])
    spread, spread_tags = emissions.clone(), tags.clone()
    spread[:, 2:], spread_tags[:, 2:] = emissions[:, 1:3], tags[:, 1:3]
    spread[:, 1] = 1e6
    torch.testing.assert_close(crf(spread, spread_tags, gap), crf(emissions, tags, mask))
    assert crf.decode(spread, gap) == crf.decode(emissions, mask)


def test_what_iob2_forbids_is_never_decoded_and_costs_probability():
    forbidden = iob2_forbidden(TAGS)
    crf, emissions, _, mask = make_case(num_tags=5, scale=3.0, lengths=[4, 4, 4, 4])
    allowed = torch.tensor([[0, 1, 4, 2]]).expand(4, 4)
    expected = enumerated_loss(crf, emissions, allowed, mask, forbidden)
    torch.testing.assert_close(
        crf(emissions, allowed, mask, forbidden), expected, atol=1e-9, rtol=0
    )
    for path in crf.decode(emissions, mask, forbidden):
        assert not forbidden[-1, path[0]]
        assert not any(forbidden[a, b] for a, b in itertools.pairwise(path))
    assert any(
        forbidden[-1, path[0]] or any(forbidden[a, b] for a, b in itertools.pairwise(path))
        for path in crf.decode(emissions, mask)
    )


@pytest.mark.parametrize("limit", [1, 64], ids=["values only", "back-pointers"])
@pytest.mark.parametrize("scale", [1.0, 1e3, 1e6])
def test_what_iob2_forbids_is_not_decoded_however_much_speaks_for_it(scale, limit, monkeypatch):
    monkeypatch.setattr(crf_module, "VALUES_ONLY_TAGS", limit)
    forbidden = iob2_forbidden(TAGS)
    crf, emissions, _, mask = make_case(num_tags=5, scale=scale, lengths=[4, 4, 2, 1, 0])
    emissions[:, :, 1] += 10 * scale
    paths = crf.decode(emissions, mask, forbidden)
    assert [len(path) for path in paths] == [4, 4, 2, 1, 0]
    for path in paths:
        assert not any(forbidden[a, b] for a, b in itertools.pairwise([-1, *path]))


@pytest.mark.parametrize("scale", [1.0, 1e3])
def test_gold_that_iob2_forbids_is_unknown(scale):
    forbidden = iob2_forbidden(TAGS)
    crf, emissions, _, _ = make_case(num_tags=5, scale=scale, lengths=[4, 4, 4])
    # I-X at the start; I-Y behind B-X; I-X behind O, with a gap between them.
    broken = torch.tensor([[1, 1, 4, 4], [0, 3, 3, 4], [4, -100, 1, 1]])
    known = torch.tensor([[-100, 1, 4, 4], [0, -100, 3, 4], [4, -100, -100, 1]])
    mask = torch.tensor([[True] * 4, [True] * 4, [True, False, True, True]])
    expected = enumerated_loss(crf, emissions.requires_grad_(), known, mask, forbidden)
    got = crf(emissions, broken, mask, forbidden)
    torch.testing.assert_close(got, expected, atol=1e-9, rtol=1e-12)
    for ours, theirs in zip(
        grads(got, crf, emissions), grads(expected, crf, emissions), strict=True
    ):
        torch.testing.assert_close(ours, theirs, atol=1e-9, rtol=1e-9)


def test_a_table_first_asked_for_while_testing_serves_training():
    names = ("B-Z", "I-Z", "O")
    crf, emissions, tags, mask = make_case()
    with torch.inference_mode():
        crf.decode(emissions, mask, iob2_forbidden(names))
    crf(emissions, tags, mask, iob2_forbidden(names)).sum().backward()
    assert iob2_forbidden(names) is iob2_forbidden(names)


def test_types_without_a_beginning_are_free():
    assert iob2_forbidden(("B-X", "I-X", "I-Y", "O")).int().tolist() == [
        [0, 0, 0, 0], [0, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0],
    ]  # fmt: skip


def test_parameter_names_are_those_of_released_models():
    assert set(CRF(2).state_dict()) == {"start_transitions", "end_transitions", "transitions"}
