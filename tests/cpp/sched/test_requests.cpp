// Admission, ends, deadlines, draining, and what is refused.
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

TEST_CASE("a request that ended in the queue keeps its place there until it is consumed") {
  Rig rig(limits(1, 1));
  rig.lanes(4);
  rig.submit(1);
  for (RequestId id = 2; id < 6; ++id) {
    RequestSpec spec = spec_of();
    spec.deadline = 0;
    rig.submit(id, spec);
    CHECK(rig.last<Refuse>().size() == (id == 2 ? 0 : 1));
  }
  CHECK(rig.end(2)->outcome == Outcome::kDeadline);
  rig.send(Consumed{2});
  rig.submit(9);
  CHECK(rig.last<Refuse>().empty());
  CHECK(Snapshot(rig.scheduler).queued == 1);
}

TEST_CASE("a deadline ends the request with what was committed and cancels its calls") {
  Rig rig;
  rig.lanes();
  RequestSpec spec = spec_of();
  spec.deadline = 1000;
  rig.submit(1, spec);
  CHECK(rig.wake == 1000);
  rig.done(rig.call(1, kPlan), plan_of(2));
  rig.image(rig.call(1, kGenerate));
  rig.done(rig.call(1, kJudge), accepted());
  const Call running = rig.call(1, kGenerate, 1);
  rig.now = 999;
  rig.send(Tick{});
  CHECK(!rig.end(1));
  rig.now = 1000;
  rig.send(Tick{});
  CHECK(rig.end(1)->outcome == Outcome::kDeadline);
  CHECK(rig.end(1)->failure->code == ErrorCode::kDeadline);
  CHECK(rig.steps(1).size() == 1);
  CHECK(rig.cancels(running.key));
  CHECK(rig.wake == kNever);
  SUBCASE("a late image is released") {
    rig.image(running);
    CHECK(rig.last<ReleaseImage>().size() == 1);
  }
  SUBCASE("also when the request has been forgotten") {
    rig.send(Consumed{1});
    rig.image(running);
    CHECK(rig.last<ReleaseImage>().size() == 1);
    CHECK(Snapshot(rig.scheduler).idle());
  }
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
      {[](RequestSpec& spec) { spec.text.assign((1U << 20) + 1, 'x'); }, "raise max_text_bytes",
       ErrorCode::kLimitExceeded},
      {[](RequestSpec& spec) { spec.images.assign(65, Key{1, 1}); }, "raise max_input_images",
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
