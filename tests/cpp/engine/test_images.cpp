// The image store, and the images of requests.
#include <doctest/doctest.h>

#include <thread>

#include "engine/harness.h"

using namespace irt;
using namespace irt::test;

namespace {

PixelBuffer filled(int side, std::uint8_t value) {
  PixelBuffer image{side, side, {}};
  image.data.assign(image.view().bytes(), value);
  return image;
}

}  // namespace

TEST_CASE("the store keeps the first image of a key until its last owner of any kind goes") {
  ImageStore store(100);
  const Key key{1, 1};
  const auto put = [&store](const Key& to, std::uint8_t value, ImageOwner owner) {
    return store.put(to, hashed(filled(4, value)), owner);
  };
  CHECK(store.hold(key, ImageOwner::kCall) == nullptr);
  const ImageRef first = put(key, 7, ImageOwner::kTrajectory);
  CHECK(put(key, 9, ImageOwner::kClient) == first);
  CHECK(store.hold(key, ImageOwner::kCall) == first);
  CHECK(store.hold(key, ImageOwner::kCall) == first);
  CHECK(put(Key{1, 2}, 7, ImageOwner::kClient)->hash == first->hash);
  CHECK_THROWS_WITH_AS(put(Key{1, 3}, 7, ImageOwner::kClient), doctest::Contains("96 of 100"),
                       Error);
  CHECK_THROWS_AS((void)hashed(PixelBuffer{2, 2, {1, 2, 3}}), Error);
  CHECK(store.bytes() == 96);
  CHECK_FALSE(store.drop(key, ImageOwner::kNotice));
  for (const ImageOwner owner : {ImageOwner::kCall, ImageOwner::kTrajectory, ImageOwner::kClient}) {
    CHECK(store.drop(key, owner));
    CHECK(store.get(key) == first);
  }
  CHECK(store.drop(key, ImageOwner::kCall));
  CHECK(store.get(key) == nullptr);
  CHECK(store.bytes() == 48);
  CHECK_FALSE(store.drop(key, ImageOwner::kCall));
  CHECK(first->pixels.data.front() == 7);  // whoever holds it, has it
}

TEST_CASE("equal pictures are one image, released as often as put") {
  Driver driver({});
  const Key key = driver.put_image(filled(4, 7));
  CHECK(driver.put_image(filled(4, 7)) == key);
  CHECK(driver.put_image(filled(4, 8)) != key);
  driver.release_image(key);
  CHECK(driver.counters().images == 2);
  driver.release_image(key);
  CHECK(driver.counters().images == 1);
  CHECK_THROWS_AS(driver.release_image(key), Error);
}

TEST_CASE("discarded speculative images go at once, attempts with their notices") {
  Driver driver({});
  ScriptedConfig lanes = quick_config();
  lanes.script.accept = 0.0;  // every speculation is in vain
  lanes.times.critic_ms = 4.0;
  lanes.times.verdict_ms = 3.0;
  add_scripted_lanes(driver, lanes);
  RequestSpec spec = spec_of("refused again and again");
  spec.t_max = 3;
  spec.speculation = {SpeculationMode::kDepth, 2};
  const RequestId request = driver.submit(spec);
  while (driver.counters().scheduler.requests_ended[0] < 1) std::this_thread::yield();
  CHECK(settles(driver));
  const DriverCounters after = driver.counters();
  CHECK(after.scheduler.role[static_cast<std::size_t>(Role::kGenerator)].speculated > 0);
  CHECK(after.images == 9);  // three steps of three attempts
  SUBCASE("read") { CHECK(read_all(driver, request).outcome == Outcome::kFinished); }
  SUBCASE("forgotten unread") { driver.forget(request); }
  CHECK(driver.counters().images == 0);
}
