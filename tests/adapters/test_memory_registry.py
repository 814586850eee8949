"""The memory registries keep the contracts of the real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgefleet.adapters.memory.images import MemoryImages
from edgefleet.adapters.memory.models import MemoryModels
from edgefleet.adapters.memory.site import MemorySite
from edgefleet.adapters.memory.world import MemoryWorld
from edgefleet.errors import Refused
from edgefleet.fleet.inventory import Pull
from edgefleet.ports import Images, Models
from tests.contract import test_images as of_images
from tests.contract import test_models as of_models

package = of_images.package
name = of_models.name


@pytest.fixture
def images() -> Images:
    return MemoryImages()


@pytest.fixture
def models() -> Models:
    return MemoryModels()


test_fetched_is_pushed = of_images.test_what_was_pushed_is_fetched_byte_for_byte
test_tags_move = of_images.test_a_tag_leads_to_the_digest_and_moves_with_a_later_push
test_digests_agree = of_images.test_the_same_package_has_the_same_digest_anywhere
test_only_the_model_moves = of_images.test_a_new_model_moves_the_model_layer_only
test_unknown_images = of_images.test_an_unknown_tag_or_digest_is_refused_by_name
test_half_a_package = of_images.test_half_a_package_is_not_pushed

test_unknown_model = of_models.test_an_unknown_model_has_no_versions
test_fetched_is_registered = of_models.test_what_is_fetched_is_what_was_registered
test_same_content = of_models.test_the_same_content_again_is_the_same_version
test_newest_first = of_models.test_versions_come_newest_first_with_tags_and_aliases
test_tags_survive = of_models.test_what_became_of_a_version_survives_a_second_registration
test_missing_version = of_models.test_a_missing_version_is_refused_in_every_way
test_no_model = of_models.test_a_folder_without_a_model_is_refused


def pulled(world: MemoryWorld, tag: str, images: Images) -> Pull:
    site = MemorySite("factory-01", world)
    site.hold("node-0001", images.resolve(tag))
    world.clock.sleep(60)
    pull = site.snapshot("job")[0].pull_of(images.resolve(tag))
    assert pull is not None
    return pull


def test_a_node_that_has_the_base_pulls_the_model_layer_only(package: Path, tmp_path: Path) -> None:
    images = MemoryImages()
    base, model = images.describe(images.push(package, "one")).layers
    images.push(of_images.write_package(tmp_path / "two", "2", b"other weights"), "two")
    world = MemoryWorld(1, 1, images=images)
    assert pulled(world, "one", images).transferred_bytes == base.size + model.size
    second = images.describe(images.resolve("two")).layers[1]
    assert pulled(world, "two", images).transferred_bytes == second.size


def test_an_image_that_the_registry_lost_fails_the_pull(package: Path) -> None:
    images = MemoryImages()
    digest = images.push(package, "one")
    images.forget(digest)
    assert "is no blob" in pulled(MemoryWorld(1, 1, images=images), "one", images).reason
    with pytest.raises(Refused):
        images.describe(digest)
