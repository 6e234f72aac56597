#include <doctest/doctest.h>

#include "sched/policy.h"
#include "sched/service_times.h"

namespace irt::test {
namespace {

SpeculationCase shared_case() {
  SpeculationCase question;
  question.setting.mode = SpeculationMode::kAuto;
  question.p = 0.8;
  question.shared_device = true;
  question.critic_slowdown = 1.09;
  question.generator_rate = 0.98;
  question.verdict_time = 2000.0;
  question.generate_time = 1000.0;
  return question;
}

// The design's case: one request, a call that outlasts the verdict.
double gain_of(double p, double verdict, double slowdown, double rate, double delay) {
  GainTerms terms;
  terms.p = p;
  terms.verdict_left = verdict;
  terms.work = 1e9;
  terms.slowdown = slowdown;
  terms.rate = rate;
  terms.cancel_delay = delay;
  return expected_gain(terms);
}

TEST_CASE("the gain is the formula of the design") {
  // p Cv (s r - (s - 1)) - (1 - p) Cv (s - 1) - (1 - p) delay
  CHECK(gain_of(1.0, 1000, 1.0, 1.0, 50) == doctest::Approx(1000));
  CHECK(gain_of(0.5, 1000, 1.0, 1.0, 50) == doctest::Approx(475));
  CHECK(gain_of(0.8, 1000, 1.5, 0.7, 0) == doctest::Approx(0.8 * 550 - 0.2 * 500));
  CHECK(gain_of(0.0, 1000, 1.5, 0.7, 10) == doctest::Approx(-510));
  // Time slicing (s = 2, r = 1/2) never pays, whatever p is.
  for (const double p : {0.1, 0.5, 0.9, 1.0}) CHECK(gain_of(p, 1000, 2.0, 0.5, 0) <= 0.0);
  // The break-even of the formula without delay: p* = (s - 1) / (s r).
  const double edge = 0.4 / (1.4 * 0.7);
  CHECK(gain_of(edge + 0.01, 1000, 1.4, 0.7, 0) > 0.0);
  CHECK(gain_of(edge - 0.01, 1000, 1.4, 0.7, 0) < 0.0);
}

TEST_CASE("a call that ends before the verdict gains no more than itself and cancels nothing") {
  GainTerms terms{.p = 0.5, .verdict_left = 1000, .work = 400, .cancel_delay = 300};
  CHECK(expected_gain(terms) == doctest::Approx(200));
  terms.rate = 0.5;  // 800 of the 1000, at half the speed
  CHECK(expected_gain(terms) == doctest::Approx(200));
  terms.slowdown = 1.25;  // of the 800, a fifth is lost to the verdict
  CHECK(expected_gain(terms) == doctest::Approx(200 - 160));
}

TEST_CASE("other requests take from the gain: their calls are slowed, their lane is late") {
  GainTerms terms{.p = 0.5, .verdict_left = 1000, .work = 4000, .cancel_delay = 300};
  CHECK(expected_gain(terms) == doctest::Approx(500 - 150));
  terms.burden = 0.1;
  CHECK(expected_gain(terms) == doctest::Approx(500 - 150 - 100));
  terms.undisturbed = 0.5;
  terms.others = 3;
  CHECK(expected_gain(terms) == doctest::Approx(250 - 150 - 100 - 0.5 * 3 * 300));
  CHECK(comes_within(0, 10) == 1.0);
  CHECK(comes_within(10, 10) == doctest::Approx(0.5));
  CHECK(comes_within(100, 10) == doctest::Approx(0.05));
  CHECK(comes_within(100, 0) == 0.0);
  CHECK(unlucky(1.0, 4) == 1.0);
  CHECK(unlucky(0.8, 4) == doctest::Approx(0.6));
  CHECK(unlucky(0.1, 4) == 0.0);
  CHECK(unlucky(0.1, 0) == 0.1);
}

TEST_CASE("the depth of auto is ceil(Cv / G), at least 1 and at most 2") {
  CHECK(auto_depth(std::nullopt, 1000.0) == 1);
  CHECK(auto_depth(500.0, std::nullopt) == 1);
  CHECK(auto_depth(500.0, 1000.0) == 1);
  CHECK(auto_depth(1000.0, 1000.0) == 1);
  CHECK(auto_depth(1001.0, 1000.0) == 2);
  CHECK(auto_depth(9000.0, 1000.0) == 2);
}

TEST_CASE("every decision says why") {
  using C = SpeculationCase;
  using R = SpeculationReason;
  const auto decided = [](auto... changes) {
    C question = shared_case();
    (changes(question), ...);
    return decide(question);
  };
  const auto beyond_1 = [](C& c) { c.beyond = 2; };
  const auto beyond_2 = [](C& c) { c.beyond = 3; };
  const auto after_retry = [](C& c) { c.after_retry = true; };
  const auto unknown = [](C& c) { c.critic_slowdown.reset(); };
  const auto may_probe = [](C& c) { c.may_probe = true; };
  const auto of_critic = [](C& c) { c.role = Role::kCritic; };
  const auto separate = [](C& c) { c.shared_device = false; };
  const auto rival = [](C& c) { c.others = 1; };
  const auto no_time = [](C& c) { c.verdict_time.reset(); };
  // 600 - 350, but with bad luck 0.07 * 2000 - 0.93 * 500
  const auto unlucky_case = [](C& c) {
    c.generate_time = 4000.0;
    c.cancel_delay = 500.0;
    c.luck_verdicts = 4.0;
    c.p = 0.3;
  };
  CHECK(decided().reason == R::kGain);
  CHECK(decided().gain > 0.0);
  const SpeculationDecision no_gain = decided([](C& c) { c.p = 0.01; });
  CHECK(no_gain.reason == R::kNoGain);
  CHECK(!no_gain.start);
  CHECK(decided(unknown).reason == R::kUnknownOverlap);
  CHECK(decided(unknown, may_probe).reason == R::kProbe);
  CHECK(decided(unknown, may_probe, of_critic).reason == R::kUnknownOverlap);  // do not probe
  CHECK(decided(of_critic).reason == R::kSeparateDevices);  // no image is made beside it
  CHECK(decided(of_critic, [](C& c) { c.generators_beside = 1; }).reason == R::kGain);
  const auto planner = [](C& c) { c.planners_beside = 1; };
  CHECK(decided(planner).reason == R::kGain);
  CHECK(decided(planner).gain < decided().gain);
  CHECK(decided(planner, of_critic).reason == R::kPlannerOnDevice);
  CHECK(decided(planner, unknown, may_probe).reason == R::kPlannerOnDevice);
  CHECK(decided(planner, separate).reason == R::kPlannerOnDevice);
  CHECK(decided([](C& c) { c.committed_beside = true; }).reason == R::kCommittedWorkBeside);
  CHECK(decided(beyond_1).reason == R::kGain);
  CHECK(decided(beyond_1).depth == 2);
  CHECK(decided(beyond_1).critic_slowdown == 1.09);
  CHECK(decided(beyond_1, after_retry).reason == R::kRetryDepth);
  CHECK(decided(beyond_2, after_retry).reason == R::kBeyondDepth);
  CHECK(decided(separate, unknown).reason == R::kSeparateDevices);
  CHECK(decided(separate, no_time).start);
  CHECK(decided(separate, no_time, rival).reason == R::kRivals);
  const auto costly = [](C& c) { c.verdict_time = 100.0, c.cancel_delay = 1e6; };
  CHECK(decided(separate, rival, costly).reason == R::kNoGain);
  CHECK(decided(separate, unlucky_case).reason == R::kLuck);
  CHECK(decided(separate, unlucky_case).gain == doctest::Approx(250));
  const auto no_luck = [](C& c) { c.luck_verdicts = 0.0; };
  CHECK(decided(separate, unlucky_case, no_luck).reason == R::kSeparateDevices);
  const auto rivals = [](C& c) { c.others = 2, c.rivals = {500.0, 9000.0}; };
  CHECK(decided(separate, unlucky_case, no_luck, rivals).reason == R::kRivals);
  CHECK(decided([](C& c) { c.setting.mode = SpeculationMode::kOff; }).reason == R::kOff);
  const auto deep = [](C& c) { c.setting = {SpeculationMode::kDepth, 3}; };
  CHECK(decided(deep, beyond_2).reason == R::kDepthAsked);
  for (int r = 0; r < kSpeculationReasons; ++r) {
    CHECK(std::string(to_string(static_cast<SpeculationReason>(r))) != "");
  }
}

TEST_CASE("the odds start at the prior and follow what the critic says, by attempt") {
  AcceptModel model{PolicyConfig{}};
  CHECK(model.odds()[1] == doctest::Approx(0.7));
  CHECK(model.odds()[2] == doctest::Approx(0.5));
  for (int i = 0; i < 500; ++i) model.add(1, i % 10 == 0);
  CHECK(model.odds()[1] < 0.2);
  CHECK(model.odds()[1] > 0.03);
  CHECK(model.odds()[2] == doctest::Approx(0.5));
  for (int i = 0; i < 500; ++i) model.add(1, true);
  CHECK(model.odds()[1] > 0.95);  // it forgets
}

TEST_CASE("slowdown is found from times with and without a neighbour, of unequal lengths") {
  const PolicyConfig config;
  ServiceModel model;
  CHECK(!model.slowdown(config));
  for (int i = 0; i < 300; ++i) {
    const double length = 1000.0 + 400.0 * (i % 3 - 1);
    model.add(length, 0.0, config);
    // A third of the work alone, two thirds at slowdown 1.5.
    model.add(length / 3 + length * 2 / 3 * 1.5, length * 2 / 3 * 1.5, config);
  }
  REQUIRE(model.slowdown(config));
  CHECK(*model.slowdown(config) == doctest::Approx(1.5).epsilon(0.02));
}

TEST_CASE("the meter splits a call's time by whether another role was on the device") {
  PolicyConfig config;
  config.min_samples = 1;
  ServiceTimes meter(config);
  const std::size_t gpu = meter.device("gpu");
  CHECK(meter.device("gpu") == gpu);
  CHECK(meter.device("other") != gpu);
  CallTiming alone = meter.start(gpu, Role::kCritic, 0);
  meter.sample(alone, 1000);
  meter.stop(alone, 1000);
  CHECK(!meter.critic_slowdown(gpu));
  const CallTiming critic = meter.start(gpu, Role::kCritic, 2000);
  const CallTiming generator = meter.start(gpu, Role::kGenerator, 2000);
  meter.stop(generator, 3000);
  meter.sample(critic, 3500);  // 1000 beside a generator, 500 alone: 500 of 1000 took 1000
  meter.stop(critic, 3500);
  REQUIRE(meter.critic_slowdown(gpu));
  CHECK(*meter.critic_slowdown(gpu) == doctest::Approx(2.0));
  CHECK(meter.mean_of(Role::kCritic));
  CHECK(!meter.mean_of(Role::kGenerator));
}

TEST_CASE("a call beside a planner says nothing about critic and generator") {
  PolicyConfig config;
  config.min_samples = 1;
  ServiceTimes meter(config);
  const std::size_t gpu = meter.device("gpu");
  const CallTiming alone = meter.start(gpu, Role::kCritic, 0);
  meter.sample(alone, 1000);
  meter.stop(alone, 1000);
  const CallTiming planner = meter.start(gpu, Role::kPlanner, 2000);
  const CallTiming critic = meter.start(gpu, Role::kCritic, 2000);
  meter.sample(critic, 5000);  // the planner's doing
  meter.stop(critic, 5000);
  meter.stop(planner, 5000);
  CHECK(!meter.critic_slowdown(gpu));
}

}  // namespace
}  // namespace irt::test
