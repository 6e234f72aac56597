// Laws 2 and 3 at the driver's face: everything ends once, everything has a limit.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>
#include <thread>

#include "engine/harness.h"
#include "support/errors.h"

using namespace irt;
using namespace irt::test;
using std::chrono::milliseconds;

namespace {

void refused(ErrorCode code, const auto& act) { testing::check_throws(code, act, "["); }

void refused(ErrorCode code, Driver& driver, const RequestSpec& spec) {
  refused(code, [&] { static_cast<void>(driver.submit(spec)); });
}

void wait_for_end(Driver& driver, Outcome outcome) {
  while (driver.counters().scheduler.requests_ended[static_cast<std::size_t>(outcome)] < 1) {
    std::this_thread::sleep_for(milliseconds(1));
  }
}

// Lanes that need seconds, so that a request is surely under way.
ScriptedConfig slow_config() {
  ScriptedConfig config = quick_config();
  config.times.planner_ms = 20'000;
  config.times.first_step_ms = 1;
  config.times.generator_ms = 20'000;
  config.times.denoise_steps = 2'000;
  config.times.critic_ms = 20'000;
  return config;
}

double ms_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin)
      .count();
}

}  // namespace

TEST_CASE("a reader that does not read stops admission, not memory") {
  DriverConfig config;
  config.scheduler.max_live = 1;
  config.scheduler.max_queued = 1;
  Driver driver(config);
  add_scripted_lanes(driver, quick_config());
  const RequestId first = driver.submit(spec_of("one"));
  const RequestId second = driver.submit(spec_of("two"));
  wait_for_end(driver, Outcome::kFinished);
  // The first one has ended, but nobody has read it.
  refused(ErrorCode::kOverloaded, driver, spec_of("three"));
  CHECK(driver.live() == 2);
  CHECK(read_all(driver, first).outcome == Outcome::kFinished);
  const RequestId third = driver.submit(spec_of("three"));
  CHECK(read_all(driver, second).outcome == Outcome::kFinished);
  CHECK(read_all(driver, third).outcome == Outcome::kFinished);
  CHECK(driver.live() == 0);
}

TEST_CASE("requests that nobody forgets are limited") {
  DriverConfig config;
  config.max_unforgotten = 2;
  Driver driver(config);
  add_scripted_lanes(driver, quick_config());
  std::vector<RequestId> ended;
  for (int i = 0; i < 2; ++i) {
    ended.push_back(driver.submit(spec_of("again")));
    read_all(driver, ended.back());
  }
  refused(ErrorCode::kOverloaded, driver, spec_of("again"));
  driver.forget(ended.front());
  CHECK(read_all(driver, driver.submit(spec_of("again"))).outcome == Outcome::kFinished);
}

TEST_CASE("a full image store refuses requests; those under way wait for their readers") {
  DriverConfig config;
  config.image_bytes = 4 * 4 * 3 * 4;  // four images
  Driver driver(config);
  add_scripted_lanes(driver, quick_config());
  RequestSpec spec = spec_of("many pictures");
  spec.t_max = 1;
  std::vector<RequestId> made;
  made.push_back(driver.submit(spec));
  wait_for_end(driver, Outcome::kFinished);
  made.push_back(driver.submit(spec));  // three images wait for the first one's reader
  const Key more = driver.put_image({4, 4, std::vector<std::uint8_t>(48)});
  refused(ErrorCode::kOverloaded, driver, spec);
  driver.release_image(more);
  CHECK(driver.next_event(made.back(), std::chrono::seconds(20)));
  CHECK(driver.live() == 2);
  for (std::size_t i = made.size(); i-- > 0;) {  // whichever is read first
    CHECK(read_all(driver, made[i]).outcome == Outcome::kFinished);
    driver.forget(made[i]);
  }
  CHECK(left_behind(driver) == "");
  CHECK(read_all(driver, driver.submit(spec)).outcome == Outcome::kFinished);
}

TEST_CASE(
    "requests beyond the image store end one after another, in whatever order they are read") {
  for (const bool at_once : {false, true}) {
    DriverConfig config;
    config.image_bytes = 4 * 4 * 3 * 12;  // twelve images, of which eight requests want all
    Driver driver(config);
    ScriptedConfig lanes = quick_config();
    lanes.generator_slots = 2;
    lanes.script.accept = 0.4;
    add_scripted_lanes(driver, lanes);
    std::vector<RequestId> requests;
    std::vector<RequestSpec> specs;
    for (int i = 0; i < 8; ++i) {
      RequestSpec spec = spec_of("number " + std::to_string(i));
      spec.seed = static_cast<std::uint64_t>(i);
      spec.speculation = {SpeculationMode::kDepth, 3};
      specs.push_back(spec);
      requests.push_back(driver.submit(spec));
    }
    std::vector<Seen> seen(requests.size());
    std::vector<std::jthread> readers;
    for (std::size_t i = requests.size(); i-- > 0;) {
      readers.emplace_back([&, i] { seen[i] = read_all(driver, requests[i]); });
      if (!at_once) readers.clear();  // the youngest first
    }
    readers.clear();
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const Expected whole = run_reference(lanes.script, specs[i], {}, false);
      CHECK(seen[i].outcome == Outcome::kFinished);
      CHECK(seen[i].steps == whole.steps);
      driver.forget(requests[i]);
    }
    CHECK(left_behind(driver) == "");
  }
}

TEST_CASE("one large picture does not make the store small for those after it") {
  DriverConfig config;
  config.image_bytes = 128 * 128 * 3 * 3;  // two large ones at a time would be too many
  Driver driver(config);
  ScriptedConfig lanes = quick_config();
  lanes.generator_slots = 2;
  lanes.times.generator_ms = 200;
  add_scripted_lanes(driver, lanes);
  const auto spec = [](int side) {
    RequestSpec made = spec_of("a picture");
    made.width = made.height = side;
    made.t_max = 1;
    made.max_steps = 1;
    return made;
  };
  const RequestId large = driver.submit(spec(128));
  CHECK(read_all(driver, large).outcome == Outcome::kFinished);
  driver.forget(large);
  const std::array requests{driver.submit(spec(4)), driver.submit(spec(8))};
  std::vector<Span> drawn;
  for (const RequestId request : requests) {
    CHECK(read_all(driver, request).outcome == Outcome::kFinished);
    const Trace trace = driver.trace(request);
    const auto& spans = trace.spans();
    const auto found = std::ranges::find(spans, Role::kGenerator, &Span::role);
    REQUIRE(found != spans.end());
    drawn.push_back(*found);
  }
  CHECK(drawn[1].started < drawn[0].ended.value());
}

TEST_CASE("closing a busy engine ends every request at once and keeps what readers hold") {
  Driver driver({});
  ScriptedConfig lanes = slow_config();
  lanes.times.generator_ms = 1;
  add_scripted_lanes(driver, lanes);
  std::vector<RequestId> requests;
  for (int i = 0; i < 12; ++i) requests.push_back(driver.submit(spec_of("long")));
  ImageRef kept;
  while (!kept) {
    const auto event = driver.next_event(requests.front(), milliseconds(50));
    if (event) kept = event->image;
  }
  std::vector<Seen> seen(requests.size());
  std::vector<std::jthread> readers;
  for (std::size_t i = 1; i < requests.size(); ++i) {
    readers.emplace_back([&, i] { seen[i] = read_all(driver, requests[i]); });
  }
  std::this_thread::sleep_for(milliseconds(20));
  const auto begin = std::chrono::steady_clock::now();
  driver.close();
  CHECK(ms_since(begin) < 5'000);
  readers.clear();
  for (std::size_t i = 1; i < requests.size(); ++i) {
    CHECK(seen[i].disorder != "the request did not end in time");
    CHECK(seen[i].outcome == Outcome::kCancelled);
  }
  for (bool last = false; !last;) {
    const auto event = driver.next_event(requests.front(), milliseconds(0));
    REQUIRE(event);
    last = std::holds_alternative<RequestEnded>(event->notice);
  }
  refused(ErrorCode::kClosed, driver, spec_of("after"));
  for (const RequestId request : requests) driver.forget(request);
  CHECK(driver.counters().images == 0);
  CHECK(kept->pixels.data.size() == kept->pixels.view().bytes());
  driver.close();  // again: no effect
}

TEST_CASE("a cancel ends the request at once and its calls at their next cancel point") {
  Driver driver({});
  add_scripted_lanes(driver, slow_config());
  const RequestId request = driver.submit(spec_of("long"));
  while (driver.counters().running < 2) std::this_thread::sleep_for(milliseconds(1));
  const auto begin = std::chrono::steady_clock::now();
  driver.cancel(request);
  CHECK(read_all(driver, request).outcome == Outcome::kCancelled);
  CHECK(settles(driver));
  CHECK(ms_since(begin) < 5'000);
  driver.cancel(request);
  driver.cancel(12345);  // unknown: no effect
}

TEST_CASE("deadlines and missing lanes are noticed by the clock alone") {
  DriverConfig config;
  config.scheduler.lane_grace = 30'000;
  Driver driver(config);
  RequestSpec spec = spec_of("nobody is there");
  spec.deadline = driver.now() + 10'000;
  const RequestId late = driver.submit(spec);
  spec.deadline = kNever;
  const RequestId alone = driver.submit(spec);
  CHECK(read_all(driver, late).outcome == Outcome::kDeadline);
  const Seen seen = read_all(driver, alone);
  CHECK(seen.outcome == Outcome::kFailed);
  CHECK(seen.failure->code == ErrorCode::kBackendFailed);
}

TEST_CASE("the faces of misuse") {
  Driver driver({});
  const ScriptedIds ids = add_scripted_lanes(driver, quick_config());
  refused(ErrorCode::kBadRequest,
          [&] { static_cast<void>(driver.next_event(99, milliseconds(0))); });
  refused(ErrorCode::kBadRequest, [&] { static_cast<void>(driver.trace(99)); });
  refused(ErrorCode::kBadRequest, driver, spec_of(""));
  RequestSpec spec = spec_of("with a picture that is not there");
  spec.mode = PlanMode::kGuidance;
  spec.images = {Key{1, 2}};
  refused(ErrorCode::kBadRequest, driver, spec);
  refused(ErrorCode::kBadRequest, [&] { driver.release_image(Key{1, 2}); });
  const LaneInfo taken{ids.critic, Role::kCritic, 1, "", "twice"};
  refused(ErrorCode::kInternal,
          [&] { driver.add_lane(make_scripted_lane(taken, quick_config(), driver)); });
  const LaneInfo empty{driver.next_lane_id(), Role::kCritic, 0, "", "no slots"};
  ScriptedConfig none = quick_config();
  none.critic_slots = 0;
  refused(ErrorCode::kInternal, [&] { driver.add_lane(make_scripted_lane(empty, none, driver)); });
  const RequestId request = driver.submit(spec_of("fine"));
  CHECK(read_all(driver, request).outcome == Outcome::kFinished);
  refused(ErrorCode::kBadRequest,
          [&] { static_cast<void>(driver.next_event(request, milliseconds(0))); });
  driver.forget(request);
  CHECK(driver.counters().images == 0);
}
