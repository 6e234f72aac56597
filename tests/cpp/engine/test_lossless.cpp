// Law 1 with real threads: whatever the lanes, the clock and the neighbours do, the result is that
// of the sequential loop, or a prefix of it where a request ends early.
#include <doctest/doctest.h>

#include <algorithm>
#include <thread>

#include "engine/harness.h"
#include "engine/reference.h"

using namespace irt;
using namespace irt::test;

namespace {

struct Asked {
  RequestId request = 0;
  RequestSpec spec;
  std::vector<std::uint64_t> inputs;
  Seen seen;
};

bool is_prefix(const std::vector<std::string>& part, const std::vector<std::string>& whole) {
  return part.size() <= whole.size() && std::equal(part.begin(), part.end(), whole.begin());
}

class Scene {
 public:
  Scene(Random& random, const ScriptedConfig& lanes, int lane_sets = 1)
      : lanes_(lanes), driver_(driver_config(random)) {
    for (int i = 0; i < lane_sets; ++i) ids.push_back(add_scripted_lanes(driver_, lanes_));
  }

  Driver& driver() { return driver_; }

  void ask(Random& random) {
    Asked asked;
    asked.spec = random_spec(random);
    std::vector<Key> put;
    if (random.chance(0.3)) {
      asked.spec.mode = PlanMode::kGuidance;
      for (int n = random.between(1, 3); n > 0; --n) {
        const Key key = driver_.put_image(random_image(random));
        put.push_back(key);
        asked.spec.images.push_back(key);
        asked.inputs.push_back(driver_.images().get(key)->hash);
      }
      if (random.chance(0.3)) {  // the same picture twice
        asked.spec.images.push_back(put.front());
        asked.inputs.push_back(asked.inputs.front());
      }
    }
    asked.request = driver_.submit(asked.spec);
    for (const Key& key : put) driver_.release_image(key);
    asked_.push_back(std::move(asked));
  }

  // Every request is read by a thread of its own.
  void read() {
    std::vector<std::jthread> readers;
    for (Asked& asked : asked_) {
      readers.emplace_back([this, &asked] { asked.seen = read_all(driver_, asked.request); });
    }
  }

  void check_ended_empty() {
    CHECK(driver_.live() == 0);
    for (const Asked& asked : asked_) driver_.forget(asked.request);
    CHECK(settles(driver_));
    const DriverCounters left = driver_.counters();
    CHECK(left.records == 0);
    CHECK(left.images == 0);
    CHECK(left.image_bytes == 0);
  }

  std::vector<Asked>& asked() { return asked_; }
  std::vector<ScriptedIds> ids;

 private:
  static DriverConfig driver_config(Random& random) {
    DriverConfig config;
    config.scheduler.max_live = random.between(1, 6);
    config.scheduler.max_queued = 64;
    return config;
  }

  ScriptedConfig lanes_;
  Driver driver_;
  std::vector<Asked> asked_;
};

}  // namespace

TEST_CASE("every timing, speculation and neighbour gives the sequential loop's result") {
  for (int run = 0; run < runs(20); ++run) {
    const std::uint64_t seed = 7000 + static_cast<std::uint64_t>(run);
    CAPTURE(seed);
    Random random(seed);
    const ScriptedConfig lanes = random_config(random);
    Scene scene(random, lanes, random.between(1, 2));
    for (int i = 0; i < 8; ++i) scene.ask(random);
    scene.read();
    for (const Asked& asked : scene.asked()) {
      const Expected expected = run_reference(lanes.script, asked.spec, asked.inputs, false);
      CHECK(asked.seen.disorder == "");
      CHECK(asked.seen.steps == expected.steps);
      CHECK((asked.seen.outcome == Outcome::kFinished) == expected.finished);
      if (expected.finished) CHECK(asked.seen.truncated == expected.truncated);
    }
    scene.check_ended_empty();
    CHECK(scene.driver().counters().stray_reports == 0);
    CHECK(scene.driver().counters().scheduler.strays == 0);
  }
}

TEST_CASE("a failing lane fails the request with a prefix of the loop's result") {
  int failed = 0;
  for (int run = 0; run < runs(12); ++run) {
    const std::uint64_t seed = 8000 + static_cast<std::uint64_t>(run);
    CAPTURE(seed);
    Random random(seed);
    ScriptedConfig lanes = random_config(random);
    lanes.script.failing = 0.1;
    Scene scene(random, lanes);
    for (int i = 0; i < 6; ++i) {
      scene.ask(random);
    }
    scene.read();
    for (const Asked& asked : scene.asked()) {
      const Expected whole = run_reference(lanes.script, asked.spec, asked.inputs, false);
      const Expected cut = run_reference(lanes.script, asked.spec, asked.inputs, true);
      CHECK(asked.seen.disorder == "");
      CHECK((asked.seen.outcome == Outcome::kFinished) == cut.finished);
      if (cut.plan_fails) {
        CHECK(is_prefix(asked.seen.steps, whole.steps));
      } else {
        // A call may be certain, and fail, while the accepted step before it is still open.
        CHECK(is_prefix(asked.seen.steps, cut.steps));
        CHECK(asked.seen.steps.size() + 1 >= cut.steps.size());
      }
      if (asked.seen.outcome == Outcome::kFailed) {
        ++failed;
        REQUIRE(asked.seen.failure);
        CHECK(asked.seen.failure->code == ErrorCode::kBackendFailed);
      }
    }
    scene.check_ended_empty();
  }
  CHECK(failed > 0);
}

TEST_CASE("cancels, deadlines and dying lanes leave a prefix, one end and nothing behind") {
  std::array<int, 4> ends{};
  for (int run = 0; run < runs(16); ++run) {
    const std::uint64_t seed = 9000 + static_cast<std::uint64_t>(run);
    CAPTURE(seed);
    Random random(seed);
    const ScriptedConfig lanes = random_config(random);
    Scene scene(random, lanes, 2);
    for (int i = 0; i < 8; ++i) scene.ask(random);
    std::jthread trouble([&scene, seed] {
      Random later(seed * 31);
      for (int i = 0; i < 6; ++i) {
        std::this_thread::sleep_for(std::chrono::microseconds(later.between(0, 3000)));
        const auto pick = static_cast<std::size_t>(later.between(0, 7));
        scene.driver().cancel(scene.asked()[pick].request);
        if (i == 3) {  // one of two lanes of a role goes
          const ScriptedIds& ids = scene.ids[1];
          const LaneId lanes_of[] = {ids.planner, ids.generator, ids.critic};
          scene.driver().down(lanes_of[later.between(0, 2)],
                              {ErrorCode::kBackendFailed, "the test ends this lane"});
        }
      }
    });
    scene.read();
    trouble.join();
    for (const Asked& asked : scene.asked()) {
      const Expected expected = run_reference(lanes.script, asked.spec, asked.inputs, false);
      CHECK(asked.seen.disorder == "");
      CHECK(is_prefix(asked.seen.steps, expected.steps));
      if (asked.seen.outcome == Outcome::kFinished) CHECK(asked.seen.steps == expected.steps);
      ++ends[static_cast<std::size_t>(asked.seen.outcome)];
    }
    scene.check_ended_empty();
  }
  CHECK(ends[static_cast<std::size_t>(Outcome::kFinished)] > 0);
  CHECK(ends[static_cast<std::size_t>(Outcome::kCancelled)] > 0);
}

TEST_CASE("a deadline ends a request on time with a prefix") {
  int late = 0;
  for (int run = 0; run < runs(8); ++run) {
    const std::uint64_t seed = 9500 + static_cast<std::uint64_t>(run);
    CAPTURE(seed);
    Random random(seed);
    ScriptedConfig lanes = random_config(random);
    lanes.times.generator_ms = 20.0;
    lanes.script.unreadable_plan = 0.0;
    DriverConfig config;
    Driver driver(config);
    add_scripted_lanes(driver, lanes);
    RequestSpec spec = random_spec(random);
    spec.deadline = driver.now() + random.between(1'000, 60'000);
    const RequestId request = driver.submit(spec);
    const Seen seen = read_all(driver, request);
    CHECK(seen.disorder == "");
    const Expected expected = run_reference(lanes.script, spec, {}, false);
    CHECK(is_prefix(seen.steps, expected.steps));
    if (seen.outcome == Outcome::kDeadline) {
      ++late;
      CHECK(seen.failure->code == ErrorCode::kDeadline);
      CHECK(driver.now() >= spec.deadline);
    } else {
      CHECK(seen.outcome == Outcome::kFinished);
      CHECK(seen.steps == expected.steps);
    }
    driver.forget(request);
    CHECK(settles(driver));
    CHECK(driver.counters().images == 0);
  }
  CHECK(late > 0);
}
