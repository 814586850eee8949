from hypothesis import given
from hypothesis import strategies as st

from edgefleet.edge.contract import NEEDS, Needs
from edgefleet.fleet.needs import lacking, needs_of

amounts = st.integers(0, 4000)
needs = st.builds(
    Needs,
    memory_mb=amounts,
    cpu_millis=amounts,
    devices=st.dictionaries(st.sampled_from(["nvidia.com/gpu", "intel.com/npu"]), amounts),
)


@given(needs)
def test_as_much_as_is_asked_for_is_enough_and_silence_is_no_lack(
    asked: Needs,
) -> None:
    assert lacking(asked, asked) == ""
    assert lacking(asked, None) == ""


def test_every_lack_is_named_with_both_numbers() -> None:
    asked = Needs(memory_mb=300, cpu_millis=500, devices={"nvidia.com/gpu": 1})
    assert lacking(asked, Needs(memory_mb=200, cpu_millis=100)) == (
        "200 MB of memory free, 300 needed; 100 thousandths of a core free, 500 needed; "
        "0 nvidia.com/gpu free, 1 needed"
    )


def test_an_image_without_a_word_about_it_asks_for_the_usual() -> None:
    assert needs_of({}) == Needs()
    assert needs_of({NEEDS: '{"memory_mb": 700}'}) == Needs(memory_mb=700)
