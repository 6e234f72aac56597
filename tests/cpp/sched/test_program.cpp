// Each rule of the sequential program, one at a time.
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

TEST_CASE("the first step is text-to-image and its critic sees no image before") {
  Story story(plan_of(1));
  CHECK(!story.call(1, kGenerate).source);
  CHECK(story.call(1, kGenerate).prompt == "p1");
  story.make(0, 1);
  const Call& judge = story.call(1, kJudge);
  CHECK(!judge.source);
  CHECK(judge.image == story.call(1, kGenerate).key);
  CHECK(judge.original == "p1");
  CHECK(judge.prompt == "p1");
  story.say(0, 1, accepted());
  CHECK(story.end(1)->outcome == Outcome::kFinished);
  CHECK(story.steps(1).at(0).accepted == true);
}

TEST_CASE("guidance starts from the last input image") {
  RequestSpec spec = spec_of();
  spec.mode = PlanMode::kGuidance;
  spec.images = {Key{1, 1}, Key{1, 2}, Key{1, 1}};
  Story story(plan_of(1), spec);
  CHECK(story.call(1, kPlan).images == spec.images);
  CHECK(story.call(1, kGenerate).source == Key{1, 1});
  story.make(0, 1);
  CHECK(story.call(1, kJudge).source == Key{1, 1});
}

TEST_CASE(
    "every retry starts from the final image of the step before and uses the refined prompt") {
  Story story(plan_of(2));
  story.make(0, 1);
  story.say(0, 1, accepted());
  story.make(1, 1);
  story.say(1, 1, refused("better"));
  const Call& retry = story.call(1, kGenerate, 1, 2);
  CHECK(retry.source == story.call(1, kGenerate, 0, 1).key);
  CHECK(retry.prompt == "better");
  CHECK(retry.seed != story.call(1, kGenerate, 1, 1).seed);
  story.make(1, 2);
  CHECK(story.call(1, kJudge, 1, 2).original == "p2");
  CHECK(story.call(1, kJudge, 1, 2).prompt == "better");
}

TEST_CASE("a step without a prompt is committed without an image and leaves the source as it is") {
  Plan plan = plan_of(3);
  plan.steps[1].prompt.reset();
  Story story(plan);
  story.make(0, 1);
  story.say(0, 1, accepted());
  CHECK(story.steps(1).size() == 2);
  CHECK(story.steps(1)[1].attempts.empty());
  CHECK(!story.steps(1)[1].image);
  CHECK(!story.steps(1)[1].accepted);
  CHECK(story.call(1, kGenerate, 2).source == story.call(1, kGenerate, 0).key);
}

TEST_CASE("a plan of text alone finishes without an image") {
  Plan plan = plan_of(1);
  plan.steps[0].prompt.reset();
  plan.truncated = true;
  Story story(plan);
  CHECK(story.end(1)->outcome == Outcome::kFinished);
  CHECK(story.end(1)->plan_truncated);
}

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

TEST_CASE("a plan longer than the limit is cut there") {
  RequestSpec spec = spec_of();
  spec.max_steps = 2;
  Story story(plan_of(3), spec);
  story.make(0, 1);
  story.say(0, 1, accepted());
  story.make(1, 1);
  story.say(1, 1, accepted());
  CHECK(story.end(1)->outcome == Outcome::kFinished);
  CHECK(story.end(1)->plan_truncated);
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

TEST_CASE("the last attempt stands, and is judged only where that is asked for") {
  RequestSpec spec = spec_of();
  spec.t_max = 1;
  SUBCASE("not judged") {
    Story story(plan_of(1), spec);
    story.make(0, 1);
    CHECK(story.starts(1, kJudge) == 0);
    CHECK(story.end(1)->outcome == Outcome::kFinished);
    CHECK(!story.steps(1).at(0).accepted);
  }
  SUBCASE("judge_last") {
    spec.judge_last = true;
    Story story(plan_of(1), spec);
    story.make(0, 1);
    story.say(0, 1, refused("unused"));
    CHECK(story.end(1)->outcome == Outcome::kFinished);
    CHECK(story.steps(1).at(0).accepted == false);
  }
  SUBCASE("S4 off: judged, waited for, and dropped") {
    spec.optimizations.skip_last_judge = false;
    Story story(plan_of(1), spec);
    story.make(0, 1);
    CHECK(!story.end(1));
    story.say(0, 1, refused("unused"));
    CHECK(story.end(1)->outcome == Outcome::kFinished);
    CHECK(!story.steps(1).at(0).accepted);
    CHECK(!story.steps(1).at(0).attempts.at(0).verdict);
  }
}

TEST_CASE("keep=best takes the likeliest of the refused attempts, of equals the latest") {
  RequestSpec spec = spec_of();
  spec.t_max = 4;
  spec.keep = Keep::kBest;
  Story story(plan_of(2), spec);
  const double p[] = {0.2, 0.4, 0.4, 0.3};
  for (int t = 1; t <= 4; ++t) {
    story.make(0, t);
    story.say(0, t, refused("r", p[t - 1]));
  }
  const StepResult step = story.steps(1).at(0);
  CHECK(step.image == step.attempts.at(2).image.key);
  CHECK(step.accepted == false);
  CHECK(story.call(1, kGenerate, 1).source == *step.image);
}

TEST_CASE("the refined prompt of an accepted verdict does not reach the result") {
  Story story(plan_of(1));
  story.make(0, 1);
  Verdict verdict = accepted();
  verdict.refined = "chatter";
  story.say(0, 1, verdict);
  CHECK(!story.steps(1).at(0).attempts.at(0).verdict->refined);
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

TEST_CASE("an early refusal ends the speculation beyond it before the prompt is there") {
  Story story(plan_of(2), spec_of(SpeculationMode::kDepth));
  story.make(0, 1);
  const Call ahead = story.call(1, kGenerate, 1);
  story.send(VerdictKnown{story.call(1, kJudge).key, false, 0.2});
  CHECK(story.cancels(ahead.key));
  CHECK(story.starts(1, kGenerate, 0, 2) == 0);
  story.send(CallCancelled{ahead.key});
  story.say(0, 1, refused("better"));
  CHECK(story.starts(1, kGenerate, 0, 2) == 1);
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

TEST_CASE("a failed call fails the request with what was committed") {
  Story story(plan_of(2));
  story.make(0, 1);
  story.say(0, 1, accepted());
  story.send(CallFailed{story.call(1, kGenerate, 1).key, {ErrorCode::kBackendFailed, "burnt"}});
  CHECK(story.end(1)->outcome == Outcome::kFailed);
  CHECK(story.why(1) == "burnt");
  CHECK(story.steps(1).size() == 1);
}

}  // namespace
}  // namespace irt::test
