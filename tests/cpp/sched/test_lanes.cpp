// Lanes that come, go and come back.
#include "rig.h"

namespace irt::test {
namespace {

constexpr auto kPlan = Role::kPlanner;
constexpr auto kGenerate = Role::kGenerator;
constexpr auto kJudge = Role::kCritic;

const Failure kDead{ErrorCode::kBackendFailed, "worker silent for 30 s"};

SchedulerConfig grace(TimePoint wait) {
  SchedulerConfig config;
  config.lane_grace = wait;
  return config;
}

TEST_CASE("the calls of a dead lane are started again on another, once") {
  Rig rig;
  rig.lanes();
  rig.lane(3, Role::kGenerator);
  rig.submit(1);
  rig.done(rig.call(1, kPlan), plan_of(1));
  CHECK(rig.started.back().lane == 1);
  rig.send(LaneDown{1, kDead});
  CHECK(rig.started.back().lane == 3);
  CHECK(rig.starts(1, kGenerate) == 2);
  CHECK(rig.scheduler.counters().role[1].restarted == 1);
  SUBCASE("the second run counts") {
    rig.image(rig.call(1, kGenerate));
    CHECK(rig.starts(1, kJudge) == 1);
  }
  SUBCASE("a second death fails the request") {
    rig.lane(4, Role::kGenerator);
    rig.send(LaneDown{3, kDead});
    CHECK(rig.end(1)->outcome == Outcome::kFailed);
    CHECK(rig.why(1).find("died twice (worker silent for 30 s)") != std::string::npos);
  }
}

TEST_CASE("without a lane of the role a request waits for the grace period and then fails") {
  Rig rig(grace(5000));
  rig.lanes();
  rig.submit(1);
  rig.done(rig.call(1, kPlan), plan_of(1));
  rig.now = 1000;
  rig.send(LaneDown{1, kDead});
  CHECK(rig.wake == 6000);
  SUBCASE("nobody comes") {
    rig.now = 6000;
    rig.send(Tick{});
    CHECK(rig.end(1)->outcome == Outcome::kFailed);
    CHECK(rig.why(1) ==
          "[Scheduler.lanes] no generator lane is up (worker silent for 30 s): start one, or raise "
          "lane_grace");
  }
  SUBCASE("the lane comes back in time") {
    rig.now = 5999;
    rig.lane(1, Role::kGenerator);
    CHECK(rig.wake == kNever);
    CHECK(rig.starts(1, kGenerate) == 2);
  }
}

TEST_CASE("a role that never had a lane is missed from the moment it is needed") {
  Rig rig(grace(5000));
  rig.now = 100'000;
  rig.submit(1);
  CHECK(rig.wake == 105'000);
  rig.now = 105'000;
  rig.send(Tick{});
  CHECK(rig.why(1).find("no planner lane is up (none has come up yet)") != std::string::npos);
}

TEST_CASE("a request's calls return to the lane with its caches, others to the emptiest") {
  Rig rig;
  rig.lane(0, Role::kPlanner, 2);
  rig.lane(1, Role::kGenerator);
  rig.lane(2, Role::kCritic, 2);
  rig.lane(3, Role::kGenerator);
  rig.submit(1);
  rig.submit(2);
  rig.done(rig.call(1, kPlan), plan_of(1));
  rig.done(rig.call(2, kPlan), plan_of(1));
  CHECK(rig.started.back().lane == 3);
  rig.image(rig.call(1, kGenerate));
  rig.image(rig.call(2, kGenerate));
  rig.done(rig.call(2, kJudge), refused("again"));
  CHECK(rig.started.back().call.role == kGenerate);
  CHECK(rig.started.back().lane == 3);
}

TEST_CASE("a call that a lane cancels of its own accord is a failure") {
  Rig rig;
  rig.lanes();
  rig.submit(1);
  rig.send(CallCancelled{rig.call(1, kPlan).key});
  CHECK(rig.end(1)->outcome == Outcome::kFailed);
  CHECK(rig.why(1).find("cancelled a call that was wanted") != std::string::npos);
}

TEST_CASE("a lane without capacity, or in a second role, is an error of the shell") {
  Scheduler scheduler(SchedulerConfig{});
  std::vector<Command> out;
  CHECK_THROWS_AS((void)scheduler.apply(LaneUp{{0, Role::kPlanner, 0, "", "none"}}, 0, out), Error);
  (void)scheduler.apply(LaneUp{{0, Role::kPlanner, 1, "", "one"}}, 0, out);
  CHECK_THROWS_AS((void)scheduler.apply(LaneUp{{0, Role::kCritic, 1, "", "one"}}, 0, out), Error);
}

}  // namespace
}  // namespace irt::test
