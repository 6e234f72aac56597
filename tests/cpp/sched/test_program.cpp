// What law 1 does not show of the program: counters, contradictions, and what is started when.
// (The oracle of the random schedules knows every rule: support/reference.cpp.)
#include "rig.h"

namespace irt::test {
namespace {

constexpr auto kPlan = Role::kPlanner;
constexpr auto kGenerate = Role::kGenerator;
constexpr auto kJudge = Role::kCritic;

// One request with its plan made.
struct Story : Rig {
  explicit Story(const Plan& plan, const RequestSpec& spec = spec_of()) {
    lanes(1, 4, 4);
    submit(1, spec);
    done(call(1, kPlan), plan);
  }
  void make(int step, int attempt) { image(call(1, kGenerate, step, attempt)); }
  void say(int step, int attempt, const Verdict& verdict) {
    done(call(1, kJudge, step, attempt), verdict);
  }
};

TEST_CASE("an unreadable planner answer is sampled once more, then the request fails") {
  Story story(Plan{});
  CHECK(story.call(1, kPlan).retry == 1);
  CHECK(!story.end(1));
  SUBCASE("the second is readable") {
    story.done(story.call(1, kPlan), plan_of(1));
    CHECK(story.starts(1, kGenerate) == 1);
  }
  SUBCASE("the second is unreadable") {
    story.done(story.call(1, kPlan), Plan{});
    CHECK(story.end(1)->outcome == Outcome::kFailed);
    CHECK(story.why(1).find("planner answer unreadable") != std::string::npos);
    CHECK(story.scheduler.counters().plans_unreadable == 2);
  }
}

TEST_CASE("a verdict that stays unreadable leaves the attempt final and not judged") {
  RequestSpec spec = spec_of();
  spec.keep = Keep::kBest;
  Story story(plan_of(1), spec);
  story.make(0, 1);
  story.say(0, 1, refused("again", 0.4));
  story.make(0, 2);
  story.say(0, 2, Verdict{});
  CHECK(story.call(1, kJudge, 0, 2).retry == 1);
  CHECK(!story.end(1));
  story.say(0, 2, Verdict{});
  const StepResult step = story.steps(1).at(0);
  CHECK(step.image == step.attempts.at(1).image.key);
  CHECK(!step.accepted);
  CHECK(!step.attempts[1].verdict);
  CHECK(story.scheduler.counters().verdicts_unreadable == 2);
}

TEST_CASE("a refusal without a readable refined prompt keeps the used one, and is counted") {
  Story story(plan_of(1));
  story.make(0, 1);
  story.say(0, 1, refused("second"));
  story.make(0, 2);
  story.say(0, 2, {true, false, 0.1, std::nullopt, ""});
  CHECK(story.call(1, kGenerate, 0, 3).prompt == "second");
  story.make(0, 3);
  story.say(0, 3, accepted());
  const StepResult step = story.steps(1).at(0);
  CHECK(!step.attempts.at(0).refused_unreadable);
  CHECK(step.attempts.at(1).refused_unreadable);
  CHECK(story.scheduler.counters().refined_unreadable == 1);
}

TEST_CASE("plan streaming starts a step as soon as it has closed") {
  for (const bool streaming : {true, false}) {
    Rig rig;
    rig.lanes();
    RequestSpec spec = spec_of();
    spec.optimizations.stream_plan = streaming;
    rig.submit(1, spec);
    const Call plan = rig.call(1, kPlan);
    rig.send(StepClosed{plan.key, 0, image_step(1)});
    CHECK(rig.starts(1, kGenerate) == (streaming ? 1 : 0));
    rig.done(plan, plan_of(2));
    CHECK(rig.starts(1, kGenerate) == 1);
    CHECK(rig.notices.size() == 2);  // both plan steps, once
  }
}

TEST_CASE("an early acceptance moves on at once and is committed with its call") {
  for (const bool early : {true, false}) {
    RequestSpec spec = spec_of();
    spec.optimizations.early_verdict = early;
    Story story(plan_of(2), spec);
    story.make(0, 1);
    const Call judge = story.call(1, kJudge);
    story.send(VerdictKnown{judge.key, true, 0.8});
    CHECK(story.starts(1, kGenerate, 1) == (early ? 1 : 0));
    if (early) CHECK(!story.last<StartCall>().at(0).speculative);
    CHECK(story.steps(1).empty());
    Verdict verdict = accepted(0.8);
    verdict.reasoning = "kept for the trace";
    story.done(judge, verdict);
    CHECK(story.starts(1, kGenerate, 1) == 1);
    CHECK(story.steps(1).at(0).attempts.at(0).verdict->reasoning == "kept for the trace");
  }
}

TEST_CASE("answers that contradict themselves fail the request and say so") {
  SUBCASE("a plan that differs from its stream") {
    Rig rig;
    rig.lanes();
    rig.submit(1);
    rig.send(StepClosed{rig.call(1, kPlan).key, 0, image_step(7)});
    rig.done(rig.call(1, kPlan), plan_of(2));
    CHECK(rig.why(1).find("differs from the steps that were streamed") != std::string::npos);
  }
  SUBCASE("plan steps out of order") {
    Rig rig;
    rig.lanes();
    rig.submit(1);
    rig.send(StepClosed{rig.call(1, kPlan).key, 1, image_step(2)});
    CHECK(rig.why(1).find("closed before step 0") != std::string::npos);
  }
  SUBCASE("a verdict that differs from its boolean") {
    Story story(plan_of(1));
    story.make(0, 1);
    story.send(VerdictKnown{story.call(1, kJudge).key, false, 0.2});
    story.say(0, 1, accepted());
    CHECK(story.why(1).find("differs from the one that was streamed") != std::string::npos);
  }
  SUBCASE("a result of another kind") {
    Story story(plan_of(1));
    story.done(story.call(1, kGenerate), accepted());
    CHECK(story.why(1).find("not answered with an image") != std::string::npos);
    CHECK(story.end(1)->outcome == Outcome::kFailed);
  }
}

}  // namespace
}  // namespace irt::test
