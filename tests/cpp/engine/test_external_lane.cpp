// Calls that leave C++: what a worker sees and may say, and what its silence costs.
#include <doctest/doctest.h>

#include <functional>
#include <new>

#include "engine/external_lane.h"
#include "engine/harness.h"

using namespace irt;
using namespace irt::test;
using std::chrono::milliseconds;

namespace {

constexpr TimePoint kHour = 3'600'000'000;

// Writes down what a lane reports.
class Told final : public LaneEvents {
 public:
  void step_closed(const LaneCall&, int index, PlanStep step) override {
    said.push_back("step " + std::to_string(index) + " " + step.step_name);
  }
  void verdict_known(const LaneCall&, bool accepted, double) override {
    said.push_back(accepted ? "accepted" : "refused");
  }
  void done(const LaneCall& call, LaneResult) override {
    if (call.call.prompt == "thrown") throw std::bad_alloc();
    said.emplace_back("done");
  }
  void failed(const LaneCall&, Failure failure) override {
    said.push_back("failed: " + failure.message);
  }
  void cancelled(const LaneCall&) override { said.emplace_back("cancelled"); }
  void down(LaneId, Failure) override {
    if (at_down) at_down();
    said.emplace_back("down");
  }
  void up(LaneId) override { said.emplace_back("up"); }

  std::vector<std::string> take() { return std::exchange(said, {}); }
  std::vector<std::string> said;
  std::function<void()> at_down;
};

using Said = std::vector<std::string>;

struct Rig {
  explicit Rig(Role role, int capacity = 2)
      : lane(LaneInfo{1, role, capacity, "", "lane"}, kHour, told, clock) {}

  LaneCallRef start(const std::string& prompt, bool speculative = false) {
    auto call = std::make_shared<LaneCall>();
    call->call.prompt = prompt;
    call->speculative = speculative;
    lane.start(call);
    return call;
  }
  ExternalPoll poll(std::size_t most = 8) { return lane.poll(milliseconds(0), most); }

  Told told;
  Clock clock;
  ExternalLane lane;
};

}  // namespace

TEST_CASE("certain calls are handed out first, a promoted one with them") {
  Rig rig(Role::kGenerator, 4);
  rig.start("1", true);
  rig.start("2");
  rig.lane.promote(rig.start("3", true));
  const ExternalPoll got = rig.poll();
  REQUIRE(got.calls.size() == 3);
  CHECK(got.calls[0].call->call.prompt == "2");
  CHECK(got.calls[1].call->call.prompt == "3");
  CHECK_FALSE(got.calls[1].call->speculative);
  CHECK(got.calls[2].call->speculative);
  CHECK(rig.poll().calls.empty());
  rig.start("4");
  CHECK_THROWS_WITH_AS(rig.start("5"), doctest::Contains("slots"), Error);
}

TEST_CASE("steps are counted, an end comes once, and what comes after it is a stray") {
  Rig rig(Role::kPlanner);
  rig.start("1");
  const std::uint64_t id = rig.poll().calls.at(0).id;
  PlanStep step;
  step.step_name = "a";
  CHECK(rig.lane.step_closed(id, step));
  CHECK(rig.lane.step_closed(id, step));
  CHECK(rig.lane.finish(id, Plan{}));
  CHECK_FALSE(rig.lane.finish(id, Plan{}));
  CHECK_FALSE(rig.lane.step_closed(id, step));
  CHECK_FALSE(rig.lane.fail(id, {}));
  CHECK_FALSE(rig.lane.progress(id));
  CHECK_FALSE(rig.lane.cancelled(999));
  CHECK(rig.told.take() == Said{"step 0 a", "step 1 a", "done"});
  CHECK(rig.lane.counters().strays == 4);
  CHECK(rig.lane.counters().handed_out == 1);
}

TEST_CASE("a waiting call is cancelled at once, one under way by its worker") {
  Rig rig(Role::kCritic);
  rig.lane.cancel(rig.start("waits"));
  CHECK(rig.told.take() == Said{"cancelled"});
  const LaneCallRef call = rig.start("runs");
  const std::uint64_t id = rig.poll().calls.at(0).id;
  CHECK(rig.lane.wanted(id));
  rig.lane.cancel(call);
  rig.lane.cancel(call);
  CHECK(rig.told.take().empty());
  CHECK_FALSE(rig.lane.wanted(id));
  CHECK(rig.poll().cancelled == std::vector<std::uint64_t>{id});
  CHECK(rig.poll().cancelled.empty());
  CHECK_FALSE(rig.lane.verdict_known(id, true, 1.0));
  CHECK(rig.lane.cancelled(id));
  CHECK(rig.told.take() == Said{"cancelled"});
}

TEST_CASE("silence ends with the lease, and the first poll brings the lane up, empty") {
  Rig rig(Role::kPlanner);
  CHECK(rig.lane.expire(kHour / 2) > kHour / 2);
  CHECK(rig.told.take().empty());
  rig.start("1");
  const std::uint64_t id = rig.poll().calls.at(0).id;
  const LaneCallRef second = rig.start("2");
  // A worker that polls just now does not bring the lane up before its end is known.
  rig.told.at_down = [&] { CHECK(rig.poll().calls.empty()); };
  rig.lane.expire(2 * kHour);
  CHECK(rig.told.take() == Said{"down"});
  rig.lane.expire(4 * kHour);
  CHECK(rig.told.take().empty());  // told once
  rig.start("3");                  // ordered before the end was known: its run has ended
  rig.lane.cancel(second);
  CHECK_FALSE(rig.lane.finish(id, Plan{}));
  CHECK(rig.poll().calls.empty());
  CHECK(rig.poll().calls.empty());
  CHECK(rig.told.take() == Said{"up"});  // asked once
  rig.lane.revive();
  rig.start("1");
  const ExternalPoll again = rig.poll();
  REQUIRE(again.calls.size() == 1);
  CHECK(again.calls[0].id != id);
  CHECK(rig.lane.finish(again.calls[0].id, Plan{}));
  CHECK(rig.told.take() == Said{"done"});
  CHECK(rig.lane.counters().lease_ended == 1);
}

TEST_CASE("closing drops every call, also after a report that threw; a worker is told") {
  Rig rig(Role::kPlanner);
  rig.start("thrown");
  CHECK_THROWS_AS(rig.lane.finish(rig.poll().calls.at(0).id, Plan{}), std::bad_alloc);
  rig.start("1");
  rig.start("2");
  const std::uint64_t id = rig.poll(1).calls.at(0).id;
  rig.lane.close();  // waits for reports: none is under way
  CHECK(rig.lane.closed());
  CHECK_FALSE(rig.lane.finish(id, Plan{}));
  CHECK(rig.lane.poll(std::chrono::seconds(30), 1).calls.empty());
  CHECK(rig.told.take().empty());
  CHECK(rig.lane.counters().strays == 0);
}

TEST_CASE("without a worker a request fails with the reason, once the lane's grace is over") {
  DriverConfig limits;
  limits.scheduler.lane_grace = 20'000;
  Driver driver(limits);
  const auto lane = add_external_lane(driver, {0, Role::kPlanner, 1, "", "nobody"}, 20'000);
  const Seen seen = read_all(driver, driver.submit(spec_of("is anybody there?")));
  CHECK(seen.outcome == Outcome::kFailed);
  REQUIRE(seen.failure);
  CHECK(seen.failure->code == ErrorCode::kBackendFailed);
  CHECK(seen.failure->message.find("nobody") != std::string::npos);
  CHECK_THROWS_AS((void)add_external_lane(driver, {0, Role::kPlanner, 0, "", ""}, 20'000), Error);
}
