// Admission, draining, what is refused, and answers that cannot be taken. (Every rule of the loop
// is in the oracle of the random schedules: support/reference.cpp.)
#include "rig.h"

namespace irt::test {
namespace {

constexpr auto kPlan = Role::kPlanner;
constexpr auto kGenerate = Role::kGenerator;
constexpr auto kJudge = Role::kCritic;

SchedulerConfig limits(int live, int queued) {
  SchedulerConfig config;
  config.max_live = live;
  config.max_queued = queued;
  return config;
}

TEST_CASE("requests over max_live wait, requests over max_queued are refused at once") {
  Rig rig(limits(1, 1));
  rig.lanes(4);
  rig.submit(1);
  rig.submit(2);
  CHECK(rig.starts(2, kPlan) == 0);
  rig.submit(3);
  const auto refusals = rig.last<Refuse>();
  REQUIRE(refusals.size() == 1);
  CHECK(refusals[0].failure.code == ErrorCode::kOverloaded);
  CHECK(refusals[0].failure.message ==
        "[Scheduler.submit] queue is full (1): wait for a request to end, or raise max_queued");
}

TEST_CASE("the result of the very moment of the deadline still counts") {
  Rig rig;
  rig.lanes();
  RequestSpec spec = spec_of();
  spec.deadline = 1000;
  spec.t_max = 1;
  rig.submit(1, spec);
  rig.done(rig.call(1, kPlan), plan_of(1));
  rig.now = 1000;
  rig.image(rig.call(1, kGenerate));
  CHECK(rig.end(1)->outcome == Outcome::kFinished);
}

TEST_CASE("while draining nothing new is taken and the rest goes on") {
  Rig rig;
  rig.lanes();
  rig.submit(1);
  rig.scheduler.set_draining(true);
  rig.submit(2);
  REQUIRE(rig.last<Refuse>().size() == 1);
  CHECK(rig.last<Refuse>()[0].failure.message.find("draining") != std::string::npos);
  Plan plan = plan_of(1);
  plan.steps[0].prompt.reset();
  rig.done(rig.call(1, kPlan), plan);
  CHECK(rig.end(1)->outcome == Outcome::kFinished);
  CHECK(Snapshot(rig.scheduler).idle());
  rig.scheduler.set_draining(false);
  rig.submit(3);
  CHECK(rig.last<Refuse>().empty());
}

TEST_CASE("a bad request is refused and the message says what to do") {
  struct Case {
    void (*spoil)(RequestSpec&);
    const char* says;
    ErrorCode code = ErrorCode::kBadRequest;
  };
  const Case cases[] = {
      {[](RequestSpec& spec) { spec.text.clear(); }, "text is empty"},
      {[](RequestSpec& spec) { spec.t_max = 0; }, "t_max is 0: choose 1 to 10"},
      {[](RequestSpec& spec) { spec.t_max = 11; }, "t_max is 11: choose 1 to 10"},
      {[](RequestSpec& spec) { spec.max_steps = 0; }, "max_steps is 0: choose 1 to 25"},
      {[](RequestSpec& spec) { spec.max_steps = 26; }, "max_steps is 26: choose 1 to 25"},
      {[](RequestSpec& spec) { spec.speculation = {SpeculationMode::kDepth, 0}; },
       "speculation depth is 0"},
      {[](RequestSpec& spec) { spec.mode = PlanMode::kGuidance; }, "guidance needs an input image"},
      {[](RequestSpec& spec) { spec.images = {Key{1, 1}}; }, "takes no input image"},
      {[](RequestSpec& spec) {
         spec.mode = PlanMode::kGuidance;
         spec.images = {Key{}};
       },
       "has no key"},
      {[](RequestSpec& spec) { spec.width = -1; }, "width is -1"},
      {[](RequestSpec& spec) { spec.height = -1; }, "height is -1"},
      {[](RequestSpec& spec) { spec.denoising_steps = -1; }, "denoising_steps is -1"},
      {[](RequestSpec& spec) { spec.references = 0; }, "references is 0: choose 1 to 16"},
      {[](RequestSpec& spec) { spec.text.assign((1U << 20) + 1, 'x'); }, "shorten it to 1048576",
       ErrorCode::kLimitExceeded},
      {[](RequestSpec& spec) { spec.images.assign(65, Key{1, 1}); }, "send at most 64",
       ErrorCode::kLimitExceeded},
  };
  Rig rig;
  RequestId id = 0;
  for (const Case& bad : cases) {
    CAPTURE(bad.says);
    RequestSpec spec = spec_of();
    bad.spoil(spec);
    rig.submit(++id, spec);
    REQUIRE(rig.last<Refuse>().size() == 1);
    CHECK(rig.last<Refuse>()[0].failure.code == bad.code);
    CHECK(rig.last<Refuse>()[0].failure.message.find(bad.says) != std::string::npos);
  }
  CHECK(rig.scheduler.counters().requests_refused == id);
  CHECK(Snapshot(rig.scheduler).requests.empty());
}

TEST_CASE("unreadable answers are counted, and a second unreadable plan ends the request") {
  Rig rig;
  rig.lanes(2);
  rig.submit(1);
  rig.submit(2);
  for (int retry = 0; retry < 2; ++retry) rig.done(rig.call(1, kPlan), Plan{});
  CHECK(rig.why(1).find("planner answer unreadable") != std::string::npos);
  rig.done(rig.call(2, kPlan), plan_of(2));
  rig.image(rig.call(2, kGenerate));
  rig.done(rig.call(2, kJudge), Verdict{true, false, 0.1, std::nullopt, ""});
  rig.image(rig.call(2, kGenerate));
  for (int retry = 0; retry < 2; ++retry) rig.done(rig.call(2, kJudge), Verdict{});
  const Counters& counters = rig.scheduler.counters();
  CHECK(counters.plans_unreadable == 2);
  CHECK(counters.verdicts_unreadable == 2);
  CHECK(counters.refined_unreadable == 1);
}

TEST_CASE("answers that contradict themselves fail the request and say so") {
  Rig rig;
  rig.lanes();
  rig.submit(1);
  const Key plan = rig.call(1, kPlan).key;
  const char* says = "";
  SUBCASE("a plan that differs from its stream") {
    rig.send(StepClosed{plan, 0, image_step(7)});
    rig.send(CallDone{plan, plan_of(2)});
    says = "differs from the steps that were streamed";
  }
  SUBCASE("plan steps out of order") {
    rig.send(StepClosed{plan, 1, image_step(2)});
    says = "closed before step 0";
  }
  SUBCASE("a verdict that differs from its boolean") {
    rig.send(CallDone{plan, plan_of(1)});
    rig.image(rig.call(1, kGenerate));
    rig.send(VerdictKnown{rig.call(1, kJudge).key, false, 0.2});
    rig.done(rig.call(1, kJudge), accepted());
    says = "differs from the one that was streamed";
  }
  SUBCASE("a result of another kind") {
    rig.send(CallDone{plan, plan_of(1)});
    rig.done(rig.call(1, kGenerate), accepted());
    says = "not answered with an image";
  }
  SUBCASE("cancelled by a lane of its own accord") {
    rig.send(CallCancelled{plan});
    says = "cancelled a call that was wanted";
  }
  CHECK(rig.end(1)->outcome == Outcome::kFailed);
  CHECK(rig.why(1).find(says) != std::string::npos);
}

TEST_CASE("events about what is not there are dropped and counted") {
  Rig rig;
  rig.lanes();
  rig.submit(1);
  rig.send(CallDone{Key{5, 5}, Image{Key{5, 5}, 0}});
  rig.send(CallFailed{Key{5, 5}, {}});
  rig.send(CallCancelled{Key{5, 5}});
  rig.send(StepClosed{Key{5, 5}, 0, {}});
  rig.send(VerdictKnown{Key{5, 5}, true, 1.0});
  rig.send(LaneDown{77, {}});
  rig.send(Consumed{1});
  CHECK(rig.scheduler.counters().strays == 7);
  CHECK(!rig.end(1));
}

TEST_CASE("of requests that have waited equally long the earlier deadline goes first") {
  Rig rig;
  rig.lanes(3, 1, 1);
  rig.submit(1);
  rig.done(rig.call(1, kPlan), plan_of(1));
  RequestSpec urgent = spec_of();
  urgent.deadline = 50'000;
  rig.submit(2);
  rig.submit(3, urgent);
  rig.done(rig.call(2, kPlan), plan_of(1));
  rig.done(rig.call(3, kPlan), plan_of(1));
  CHECK(rig.starts(3, kGenerate) == 0);
  rig.image(rig.call(1, kGenerate));
  CHECK(rig.starts(3, kGenerate) == 1);
  CHECK(rig.starts(2, kGenerate) == 0);
}

}  // namespace
}  // namespace irt::test
