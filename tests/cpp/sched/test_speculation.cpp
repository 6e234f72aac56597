// What is started ahead and where, what gives way, and lanes that come and go.
#include "rig.h"
#include "sched/trajectory.h"
#include "script.h"

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

// Brings a request to: image of step 0 made, its judgement running.
void to_first_verdict(Rig& rig, RequestId id, const RequestSpec& spec, int steps = 3) {
  rig.submit(id, spec);
  rig.done(rig.call(id, kPlan), plan_of(steps));
  rig.image(rig.call(id, kGenerate));
}

TEST_CASE("committed work preempts the least probable speculation") {
  Rig rig;
  rig.lanes(2, 2, 4);
  to_first_verdict(rig, 1, spec_of(SpeculationMode::kDepth, 3), 5);
  rig.image(rig.call(1, kGenerate, 1));
  const Call far = rig.call(1, kGenerate, 2);
  to_first_verdict(rig, 2, spec_of(SpeculationMode::kDepth, 1), 5);
  // Step 0 of request 2 came first; now both lanes speculate: request 1 at depth 2, 2 at depth 1.
  const Call near = rig.call(2, kGenerate, 1);
  rig.submit(3);
  rig.done(rig.call(3, kPlan), plan_of(1));
  CHECK(rig.cancels(far.key));
  CHECK(!rig.cancels(near.key));
  CHECK(rig.starts(3, kGenerate) == 0);
  rig.send(CallCancelled{far.key});
  CHECK(rig.starts(3, kGenerate) == 1);
  CHECK(rig.scheduler.counters().role[1].preempted == 1);
}

TEST_CASE("a decision is told once for each call, and again when its reason changes") {
  Rig rig;
  rig.lanes(1, 1, 4);
  const auto told = [&rig](const Key& call, SpeculationReason reason) {
    const auto& notes = rig.scheduler.decisions();
    return std::count_if(notes.begin(), notes.end(), [&](const DecisionNote& note) {
      return note.call == call && note.decision.reason == reason;
    });
  };
  to_first_verdict(rig, 1, spec_of(SpeculationMode::kDepth), 4);
  const Call ahead = rig.call(1, kGenerate, 1);
  CHECK(told(ahead.key, SpeculationReason::kDepthAsked) == 1);
  rig.image(ahead);  // its judgement is started; what lies two verdicts ahead is not asked for
  const Call judge = rig.call(1, kJudge, 1);
  CHECK(told(judge.key, SpeculationReason::kDepthAsked) == 1);
  CHECK(told(ahead.key, SpeculationReason::kDepthAsked) == 0);
  rig.send(Tick{});
  CHECK(rig.scheduler.decisions().empty());
}

TEST_CASE("auto starts nothing for a rival's lane: another verdict is due before its own") {
  Rig rig;
  rig.lanes(2, 1, 4);
  // Three verdicts of 100 and images of 100: the times become known.
  rig.submit(1, spec_of(SpeculationMode::kOff));
  rig.done(rig.call(1, kPlan), plan_of(3));
  for (int i = 0; i < 3; ++i) {
    rig.now += 100;
    rig.image(rig.call(1, kGenerate, i));
    rig.now += 100;
    rig.done(rig.call(1, kJudge, i), accepted());
  }
  rig.submit(2, spec_of(SpeculationMode::kOff));
  rig.done(rig.call(2, kPlan), plan_of(3));
  rig.now += 100;
  rig.image(rig.call(2, kGenerate));
  rig.now += 1;
  SUBCASE("the rival's verdict comes first") {
    rig.now += 50;
    rig.submit(3, spec_of(SpeculationMode::kAuto));
    rig.done(rig.call(3, kPlan), plan_of(3));
    rig.now += 40;
    rig.image(rig.call(3, kGenerate));
    CHECK(rig.starts(3, kGenerate, 1) == 0);
    REQUIRE(!rig.scheduler.decisions().empty());
    const DecisionNote& last = rig.scheduler.decisions().back();
    CHECK(last.request == 3);
    CHECK(last.decision.reason == SpeculationReason::kRivals);
    CHECK(last.decision.others == 1);
  }
  SUBCASE("alone again") {
    rig.send(CancelRequest{2});
    rig.submit(3, spec_of(SpeculationMode::kAuto));
    rig.done(rig.call(3, kPlan), plan_of(3));
    rig.now += 100;
    rig.image(rig.call(3, kGenerate));
    CHECK(rig.starts(3, kGenerate, 1) == 1);
  }
}

TEST_CASE("prefetches go out once, to a lane of their role, and not for what is on its way") {
  Rig rig;
  rig.lanes();
  rig.submit(1);
  REQUIRE(rig.last<SendPrefetch>().size() == 1);
  CHECK(rig.last<SendPrefetch>()[0].lane == 2);
  CHECK(rig.last<SendPrefetch>()[0].prefetch.what == Prefetch::What::kImageFeatures);
  CHECK(!rig.last<SendPrefetch>()[0].prefetch.image);  // the white picture
  rig.done(rig.call(1, kPlan), plan_of(3));
  REQUIRE(rig.last<SendPrefetch>().size() == 2);
  CHECK(rig.last<SendPrefetch>()[0].prefetch.text == "p2");
  CHECK(rig.last<SendPrefetch>()[1].prefetch.text == "p3");
  CHECK(rig.last<SendPrefetch>()[1].lane == 1);
  rig.image(rig.call(1, kGenerate));
  CHECK(rig.last<SendPrefetch>().empty());
}

TEST_CASE("pending calls carry the odds of every verdict that they lie beyond") {
  AcceptOdds odds{};
  odds.fill(0.5);
  odds[1] = 0.8;
  RequestSpec spec;
  spec.text = "draw";
  Trajectory trajectory(1, spec);
  Script script;
  script.plan_steps = 4;
  script.accept = 0.0;
  Progress progress;
  // Answers the last want, which lies the furthest ahead, `turns` times.
  const auto run_ahead = [&](int turns) {
    for (int i = 0; i < turns; ++i) {
      progress.clear();
      trajectory.read(odds, 2, progress);
      const Call call = *progress.pending_calls.back().call;
      REQUIRE(call.role != Role::kCritic);
      REQUIRE(!trajectory.add(call.key, call.role, std::get<CallResult>(script.result(call))));
    }
    progress.clear();
    trajectory.read(odds, 2, progress);
  };
  run_ahead(3);  // the plan, and the images of steps 0 and 1
  REQUIRE(progress.pending_calls.size() == 3);
  CHECK(progress.pending_calls[0].certain);
  CHECK(progress.pending_calls[0].call->role == Role::kCritic);
  CHECK(progress.pending_calls[1].beyond == 1);
  CHECK(progress.pending_calls[1].probability == doctest::Approx(0.8));
  CHECK(progress.pending_calls[2].beyond == 2);
  CHECK(progress.pending_calls[2].probability == doctest::Approx(0.64));
  CHECK(!progress.pending_calls[2].after_retry);
  // Step 0 is refused: what was read ahead is dropped, its image released.
  const Call judge = *progress.pending_calls[0].call;
  REQUIRE(!trajectory.add(judge.key, judge.role, std::get<CallResult>(script.result(judge))));
  progress.clear();
  trajectory.read(odds, 2, progress);
  CHECK(progress.wasted.size() == 1);
  CHECK(progress.released.size() == 2);
  REQUIRE(progress.pending_calls.size() == 1);
  CHECK(progress.pending_calls[0].call->attempt == 2);
  CHECK(progress.pending_calls[0].certain);
  run_ahead(1);
  REQUIRE(progress.pending_calls.size() == 2);
  CHECK(progress.pending_calls[1].after_retry);
  CHECK(progress.pending_calls[1].probability == doctest::Approx(0.5));
}

TEST_CASE("a call whose lane dies is started again once: a second death fails the request") {
  Rig rig;
  rig.lanes();
  rig.lane(3, kPlan);
  rig.submit(1);
  rig.send(LaneDown{0, kDead});
  CHECK(rig.started.back().lane == 3);
  rig.lane(4, kPlan);
  rig.send(LaneDown{3, kDead});
  CHECK(rig.end(1)->outcome == Outcome::kFailed);
  CHECK(rig.why(1).find("died twice (worker silent for 30 s)") != std::string::npos);
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
          "lane_grace_s");
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

TEST_CASE("a lane without capacity, or in a second role, is an error of the shell") {
  Scheduler scheduler(SchedulerConfig{});
  std::vector<Command> out;
  CHECK_THROWS_AS((void)scheduler.apply(LaneUp{{0, Role::kPlanner, 0, "", "none"}}, 0, out), Error);
  (void)scheduler.apply(LaneUp{{0, Role::kPlanner, 1, "", "one"}}, 0, out);
  CHECK_THROWS_AS((void)scheduler.apply(LaneUp{{0, Role::kCritic, 1, "", "one"}}, 0, out), Error);
}

}  // namespace
}  // namespace irt::test
