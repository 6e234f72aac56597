// Starting ahead, promoting, preempting, cancelling; and the races between them.
#include "rig.h"

namespace irt::test {
namespace {

constexpr auto kPlan = Role::kPlanner;
constexpr auto kGenerate = Role::kGenerator;
constexpr auto kJudge = Role::kCritic;

// Brings a request to: image of step 0 made, its judgement running.
void to_first_verdict(Rig& rig, RequestId id, const RequestSpec& spec, int steps = 3) {
  rig.submit(id, spec);
  rig.done(rig.call(id, kPlan), plan_of(steps));
  rig.image(rig.call(id, kGenerate));
}

TEST_CASE("a refused verdict cancels what was started ahead of it and the retry takes its slot") {
  Rig rig;
  rig.lanes();
  to_first_verdict(rig, 1, spec_of(SpeculationMode::kDepth));
  const Call ahead = rig.call(1, kGenerate, 1);
  rig.done(rig.call(1, kJudge), refused("better"));
  CHECK(rig.cancels(ahead.key));
  CHECK(rig.starts(1, kGenerate, 0, 2) == 0);  // the lane owns the slot until the call has ended
  SUBCASE("cancelled") { rig.send(CallCancelled{ahead.key}); }
  SUBCASE("done after the cancel was sent: the image is released") {
    rig.image(ahead);
    REQUIRE(rig.last<ReleaseImage>().size() == 1);
    CHECK(rig.last<ReleaseImage>()[0].image == ahead.key);
  }
  SUBCASE("the cancelled call fails") {
    rig.send(CallFailed{ahead.key, {ErrorCode::kBackendFailed, "terminated"}});
  }
  CHECK(rig.starts(1, kGenerate, 0, 2) == 1);
  CHECK(!rig.end(1));
  CHECK(rig.scheduler.counters().role[1].speculation_wasted == 1);
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

TEST_CASE("a call that fails ahead costs a second run, not the request") {
  Rig rig;
  rig.lanes();
  to_first_verdict(rig, 1, spec_of(SpeculationMode::kDepth), 2);
  const Call ahead = rig.call(1, kGenerate, 1);
  rig.send(CallFailed{ahead.key, {ErrorCode::kBackendFailed, "out of memory"}});
  CHECK(!rig.end(1));
  CHECK(rig.starts(1, kGenerate, 1) == 1);  // not speculated on again
  rig.done(rig.call(1, kJudge), accepted());
  CHECK(rig.starts(1, kGenerate, 1) == 2);
  rig.send(CallFailed{ahead.key, {ErrorCode::kBackendFailed, "out of memory"}});
  CHECK(rig.end(1)->outcome == Outcome::kFailed);
}

TEST_CASE("auto does not speculate on a shared device before it knows what overlap costs") {
  Rig rig;
  rig.lane(0, Role::kPlanner, 1, "gpu");
  rig.lane(1, Role::kGenerator, 1, "gpu");
  rig.lane(2, Role::kCritic, 1, "gpu");
  to_first_verdict(rig, 1, spec_of(SpeculationMode::kAuto));
  CHECK(rig.starts(1, kGenerate, 1) == 0);
  REQUIRE(!rig.scheduler.decisions().empty());
  CHECK(rig.scheduler.decisions().back().decision.reason == SpeculationReason::kUnknownOverlap);
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

}  // namespace
}  // namespace irt::test
