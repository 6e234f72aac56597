// The image store, images on their way through PNG, and images of requests.
#include <doctest/doctest.h>

#include <thread>

#include "engine/harness.h"
#include "engine/reference.h"

using namespace irt;
using namespace irt::test;
using std::chrono::milliseconds;

namespace {

PixelBuffer filled(int side, std::uint8_t value) {
  PixelBuffer image{side, side, {}};
  image.data.assign(image.view().bytes(), value);
  return image;
}

// A worker that takes images through "PNG": a copy, or a change of one value.
class PngWorker {
 public:
  PngWorker(Driver& driver, bool change)
      : thread_([&driver, change](const std::stop_token& stop) {
          while (!stop.stop_requested()) {
            for (const TextJob& job : driver.text().poll(milliseconds(5), 4)) {
              const ImageRef image = driver.images().get(job.image);
              PixelBuffer copy = image ? image->pixels : PixelBuffer{};
              if (change && !copy.data.empty()) copy.data.back() ^= 1U;
              driver.text().finish_png(job.id, std::move(copy));
            }
          }
        }) {}

 private:
  std::jthread thread_;
};

}  // namespace

TEST_CASE("the store keeps the first image of a key and counts its bytes") {
  ImageStore store(100);
  const Key key{1, 1};
  const ImageRef first = store.put(key, filled(4, 7));
  CHECK(store.put(key, filled(4, 9)) == first);
  CHECK(store.bytes() == 48);
  CHECK(store.put(Key{1, 2}, filled(4, 7))->hash == first->hash);
  CHECK_THROWS_WITH_AS(store.put(Key{1, 3}, filled(4, 7)), doctest::Contains("96 of 100"), Error);
  CHECK_THROWS_AS(store.put(Key{}, filled(4, 7)), Error);
  CHECK_THROWS_AS(store.put(Key{1, 4}, PixelBuffer{2, 2, {1, 2, 3}}), Error);
  store.release(key);
  store.release(key);
  CHECK(store.get(key) == nullptr);
  CHECK(store.bytes() == 48);
  CHECK(first->pixels.data.front() == 7);  // whoever holds it, has it
}

TEST_CASE("equal pictures are one image, released as often as put") {
  Driver driver({});
  const Key key = driver.put_image(filled(4, 7));
  CHECK(driver.put_image(filled(4, 7)) == key);
  CHECK(driver.put_image(filled(4, 8)) != key);
  driver.release_image(key);
  CHECK(driver.images().get(key));
  driver.release_image(key);
  CHECK(driver.images().get(key) == nullptr);
  CHECK_THROWS_AS(driver.release_image(key), Error);
}

TEST_CASE("a request keeps its input images until it is forgotten") {
  Driver driver({});
  add_scripted_lanes(driver, quick_config());
  RequestSpec spec;
  spec.text = "go on from <image>";
  spec.mode = PlanMode::kGuidance;
  const Key key = driver.put_image(filled(4, 7));
  spec.images = {key};
  const RequestId request = driver.submit(spec);
  driver.release_image(key);
  CHECK(read_all(driver, request).outcome == Outcome::kFinished);
  CHECK(driver.images().get(key));
  driver.forget(request);
  CHECK(settles(driver));
  CHECK(driver.counters().images == 0);
}

TEST_CASE("discarded speculative images go at once, attempts stay until forget") {
  Driver driver({});
  ScriptedConfig lanes = quick_config();
  lanes.script.accept = 0.0;  // every speculation is in vain
  lanes.times.critic_ms = 4.0;
  lanes.times.verdict_ms = 3.0;
  add_scripted_lanes(driver, lanes);
  RequestSpec spec;
  spec.text = "refused again and again";
  spec.t_max = 3;
  spec.speculation = {SpeculationMode::kDepth, 2};
  const RequestId request = driver.submit(spec);
  CHECK(read_all(driver, request).outcome == Outcome::kFinished);
  CHECK(settles(driver));
  const DriverCounters after = driver.counters();
  CHECK(after.scheduler.role[static_cast<std::size_t>(Role::kGenerator)].speculated > 0);
  CHECK(after.images == 9);  // three steps of three attempts
  driver.forget(request);
  CHECK(driver.counters().images == 0);
}

TEST_CASE("images through PNG give the same result") {
  Random random(5);
  for (int run = 0; run < runs(3); ++run) {
    const ScriptedConfig lanes = random_config(random);
    Driver driver({});
    add_scripted_lanes(driver, lanes);
    const PngWorker worker(driver, false);
    RequestSpec spec = random_spec(random);
    spec.devices.raw_images = false;
    const RequestId request = driver.submit(spec);
    const Seen seen = read_all(driver, request);
    const Expected expected = run_reference(lanes.script, spec, {}, false);
    CHECK(seen.disorder == "");
    CHECK(seen.steps == expected.steps);
    driver.forget(request);
    CHECK(settles(driver));
    CHECK(driver.counters().images == 0);
  }
}

TEST_CASE("an image that PNG changes fails the request") {
  Driver driver({});
  add_scripted_lanes(driver, quick_config());
  const PngWorker worker(driver, true);
  RequestSpec spec;
  spec.text = "changed";
  spec.devices.raw_images = false;
  const RequestId request = driver.submit(spec);
  const Seen seen = read_all(driver, request);
  CHECK(seen.outcome == Outcome::kFailed);
  CHECK(seen.failure->message.find("PNG") != std::string::npos);
  driver.forget(request);
  CHECK(settles(driver));
  CHECK(driver.counters().images == 0);
}

TEST_CASE("a request whose image waits for PNG can be cancelled, and its engine closed") {
  for (const bool close : {false, true}) {
    Driver driver({});
    add_scripted_lanes(driver, quick_config());
    RequestSpec spec;
    spec.text = "nobody polls";
    spec.devices.raw_images = false;
    const RequestId request = driver.submit(spec);
    std::vector<TextJob> jobs;
    while (jobs.empty() || jobs.front().kind != TextJob::Kind::kPng) {
      jobs = driver.text().poll(milliseconds(10), 1);
    }
    if (close) {
      driver.close();
    } else {
      driver.cancel(request);
    }
    CHECK(read_all(driver, request).outcome == Outcome::kCancelled);
    CHECK(settles(driver));
    driver.text().finish_png(jobs.front().id, filled(4, 1));  // too late: no effect
    driver.forget(request);
    CHECK(driver.counters().images == 0);
  }
}
