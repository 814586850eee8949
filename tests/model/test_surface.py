from __future__ import annotations

import time

import numpy as np
import pytest

from edgefleet.errors import Refused
from edgefleet.model.surface import LABELS, SIDE, Scene, draw, factory_scene, lab_scenes

FACTORIES = ("graz", "linz", "brno", "gyor", "turin", "lyon")


def test_images_are_grey_bytes_of_every_class() -> None:
    drawn = draw(300, 1, lab_scenes())
    assert drawn.inputs.shape == (300, 1, SIDE, SIDE)
    assert drawn.inputs.dtype == np.uint8
    assert drawn.labels.dtype == np.int64
    assert set(range(len(LABELS))) == set(drawn.labels.tolist())


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others() -> None:
    one, two, other = (draw(20, seed, lab_scenes()) for seed in (1, 1, 2))
    assert one.inputs.tobytes() == two.inputs.tobytes()
    assert one.labels.tobytes() == two.labels.tobytes()
    assert one.inputs.tobytes() != other.inputs.tobytes()


def test_a_factory_looks_the_same_whenever_it_is_named_and_unlike_any_other() -> None:
    assert factory_scene("graz") == factory_scene("graz")
    assert len(FACTORIES) == len({factory_scene(name) for name in FACTORIES})


def test_factories_spread_wider_in_light_than_the_lab() -> None:
    lab = [scene.light for scene in lab_scenes()]
    field = [factory_scene(f"place-{i}").light for i in range(50)]
    assert min(field) < min(lab)
    assert max(lab) < max(field)
    assert 5 * np.ptp(lab) < np.ptp(field)


@pytest.mark.parametrize("scene", [*lab_scenes(), *map(factory_scene, FACTORIES)])
def test_no_scene_is_over_or_under_exposed(scene: Scene) -> None:
    images = draw(60, 3, [scene]).inputs
    assert float(((images == 0) | (images == 255)).mean()) < 0.05
    assert images.std() > 2


@pytest.mark.parametrize("label", range(1, len(LABELS)))
def test_every_defect_leaves_a_mark_that_a_flawless_surface_has_not(label: int) -> None:
    drawn = draw(600, 4, lab_scenes()[:1])
    images = drawn.inputs[:, 0].astype(np.float64)
    contrast = np.abs(images - images.mean(axis=(1, 2), keepdims=True)).max(axis=(1, 2))
    flawless = np.median(contrast[drawn.labels == 0])
    assert flawless < np.median(contrast[drawn.labels == label])


def test_a_camera_can_draw_one_image_at_a_time() -> None:
    assert draw(1, 5, [factory_scene("graz")]).inputs.shape == (1, 1, SIDE, SIDE)


@pytest.mark.parametrize(("count", "scenes"), [(0, lab_scenes()), (4, ())])
def test_nothing_to_draw_is_refused_with_the_numbers(count: int, scenes: tuple[Scene, ...]) -> None:
    with pytest.raises(Refused, match=f"{count} images of {len(scenes)} scenes"):
        draw(count, 1, scenes)


def test_four_thousand_images_take_seconds_of_work_and_not_minutes() -> None:
    begun = time.process_time()
    draw(4000, 6, lab_scenes())
    assert time.process_time() - begun < 8
