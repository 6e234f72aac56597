#include "law4_workload.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "core/key.h"

namespace irt::test {
namespace {

constexpr double kCritic = 6000.0;     // a whole answer, microseconds; its boolean at 2/3
constexpr int kAttempts = 5;           // t_max
constexpr int kDenoisingSteps = 4;     // a cancelled image ends at the next one
constexpr TimePoint kTokenTime = 100;  // a cancelled answer ends at the next one
constexpr int kTextSlots = 8;          // sequences of planner and critic at once

double chance(std::uint64_t seed, const Key& call, std::uint64_t what) {
  const std::uint64_t bits = mix64(mix64(call.hi ^ seed) ^ call.lo ^ (what << 32));
  return static_cast<double>(bits >> 11) * 0x1.0p-53;
}

SimAnswer answer(const Law4Point& point, std::uint64_t seed, const Call& call) {
  SimAnswer out;
  // Lengths of answers vary by a quarter; an image always takes the same time.
  const double stretch = 0.75 + 0.5 * chance(seed, call.key, 1);
  if (call.role == Role::kPlanner) {
    Plan plan;
    for (int i = 0; i < point.steps; ++i) {
      PlanStep step;
      step.step_number = i + 1;
      step.prompt = std::string{'p', static_cast<char>('a' + i)};
      plan.steps.push_back(std::move(step));
      out.steps_closed.push_back(std::llround(stretch * kCritic * (2.0 / 3.0 + 0.5 * i)));
    }
    out.work = out.steps_closed.back() + 1;
    out.end = CallResult{std::move(plan)};
  } else if (call.role == Role::kGenerator) {
    out.work = std::llround(kCritic * point.g_over_c);
    out.cancel_parts = kDenoisingSteps;
    out.end = CallResult{Image{call.key, call.key.lo}};
  } else {
    Verdict verdict;
    verdict.readable = true;
    verdict.accepted = chance(seed, call.key, 2) < point.p;
    verdict.p_success = verdict.accepted ? 0.9 : 0.1;
    if (!verdict.accepted) verdict.refined = call.prompt + "'";
    out.work = std::llround(stretch * kCritic);
    out.verdict_known = std::llround(stretch * kCritic * 2.0 / 3.0);
    out.end = CallResult{std::move(verdict)};
  }
  return out;
}

double percentile(std::vector<double>& values, double share) {
  const auto at =
      static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())) - 1.0);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace

std::string Law4Point::name() const {
  char text[160];
  std::snprintf(text, sizeof text, "%-16s p %.1f  G/C %-4g N %-2d load %.1f", device.name, p,
                g_over_c, steps, load);
  return text;
}

Law4Run serve(const Law4Point& point, SpeculationMode mode, int requests, std::uint64_t seed) {
  const double generate = kCritic * point.g_over_c;
  SimConfig config;
  config.seed = seed;
  config.scheduler.max_queued = requests;
  if (point.device.shared) {
    const double text_rate = 1.0 / point.device.critic_slowdown;
    config.rate_beside = {text_rate, point.device.generator_rate, text_rate};
  }
  if (point.device.known) {
    config.scheduler.policy.critic_slowdown = point.device.critic_slowdown;
    config.scheduler.policy.generator_rate = point.device.generator_rate;
  }
  Simulator sim(config,
                [&point, seed](const StartCall& start) { return answer(point, seed, start.call); });
  const char* text = point.device.shared ? "gpu" : "gpu:1";
  sim.add_lane({{0, Role::kPlanner, kTextSlots, text, "planner"}, kTokenTime});
  sim.add_lane({{1, Role::kGenerator, 1, "gpu", "generator"}});
  sim.add_lane({{2, Role::kCritic, kTextSlots, text, "critic"}, kTokenTime});

  double attempts = 0.0;
  for (int t = 0; t < kAttempts; ++t) attempts += std::pow(1.0 - point.p, t);
  const double between = generate * attempts * point.steps / std::max(point.load, 1e-3);
  std::mt19937_64 random(seed);
  std::exponential_distribution<double> gap(1.0 / between);
  double when = 0.0;
  for (int i = 0; i < requests; ++i) {
    when += point.load > 0.0 ? gap(random) : 1e9;
    RequestSpec spec;
    spec.text = "draw";
    spec.seed = static_cast<std::uint64_t>(i);
    spec.t_max = kAttempts;
    spec.speculation.mode = mode;
    sim.at(std::llround(when), Submit{static_cast<RequestId>(i + 1), spec});
  }
  Law4Run run;
  if (!sim.run(200'000'000)) return run;
  for (const auto& [id, request] : sim.requests()) {
    if (request.end() == nullptr || request.end()->outcome != Outcome::kFinished) return {};
    run.e2e.push_back(static_cast<double>(request.ended - request.submitted));
  }
  run.counters = sim.scheduler().counters();
  run.makespan = static_cast<double>(sim.now());
  return run;
}

Law4Ratio compare(const Law4Run& off, const Law4Run& automatic, std::uint64_t seed) {
  constexpr int kResamples = 200;
  constexpr std::size_t kBlock = 10;
  const std::size_t n = off.e2e.size();
  std::vector<double> a = off.e2e;
  std::vector<double> b = automatic.e2e;
  Law4Ratio out;
  out.mean = mean(b) / mean(a);
  out.p99 = percentile(b, 0.99) / percentile(a, 0.99);
  std::mt19937_64 random(seed);
  std::vector<double> means;
  std::vector<double> tails;
  for (int round = 0; round < kResamples; ++round) {
    for (std::size_t i = 0; i < n;) {
      std::size_t from = random() % n;
      for (std::size_t k = 0; k < kBlock && i < n; ++k, ++i, from = (from + 1) % n) {
        a[i] = off.e2e[from];
        b[i] = automatic.e2e[from];
      }
    }
    means.push_back(mean(b) / mean(a));
    tails.push_back(percentile(b, 0.99) / percentile(a, 0.99));
  }
  out.mean_low = percentile(means, 0.05);
  out.p99_low = percentile(tails, 0.05);
  return out;
}

}  // namespace irt::test
