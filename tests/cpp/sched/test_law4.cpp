// Law 4: with speculation on `auto`, a workload is not slower than with it off.
//
// A grid of workloads in virtual time: mean e2e latency at most 1.00 x of `off`, p99 at most
// 1.02 x. Both arms get the same arrivals and the same tasks, so the ratios are paired. A point
// breaks the law when its ratio of means does not round to 1.00 or less (the policy's first wrong
// guesses are in it), or when the lower one-sided 95 % bound of its p99 ratio lies above the limit.
//
// IRT_GRID=full runs every point (thinned otherwise), IRT_REQUESTS sets the requests of a point.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <numeric>
#include <random>
#include <string>
#include <vector>

#include "sim/workload.h"

namespace irt::test {
namespace {

constexpr double kMeanLimit = 1.005;
constexpr double kTailLimit = 1.02;
constexpr double kCritic = 6000.0;     // a whole answer, microseconds; its boolean at 2/3
constexpr int kAttempts = 5;           // t_max
constexpr TimePoint kTokenTime = 100;  // a cancelled answer ends at the next one
constexpr int kTextSlots = 8;          // sequences of planner and critic at once

struct Device {
  const char* name = "separate";
  bool shared = false;           // planner, generator and critic on one device
  double critic_slowdown = 1.0;  // s_c, of planner and critic beside the generator
  double generator_rate = 1.0;   // r_g, beside planner or critic
  bool known = false;            // s_c and r_g are configured, not learned
};

struct Point {
  double p = 0.8;         // that a verdict accepts, at every attempt
  double g_over_c = 1.0;  // generator's time over that of a whole critic answer
  int steps = 5;          // N
  double load = 0.1;      // of the generator's capacity; 0: the next request comes after the last
  Device device;

  [[nodiscard]] std::string name() const {
    char text[160];
    std::snprintf(text, sizeof text, "%-16s p %.1f  G/C %-4g N %-2d load %.1f", device.name, p,
                  g_over_c, steps, load);
    return text;
  }
};

// Lengths of answers vary by a quarter; an image always takes the same time.
std::vector<SimTask> tasks_of(const Point& point, int requests, std::mt19937_64& random) {
  const auto unit = [&random] { return std::uniform_real_distribution<double>()(random); };
  std::vector<SimTask> tasks(static_cast<std::size_t>(requests));
  for (SimTask& task : tasks) {
    const double stretch = 0.75 + 0.5 * unit();
    for (int i = 0; i < point.steps; ++i) {
      task.closes.push_back(stretch * kCritic * (2.0 / 3.0 + 0.5 * i));
      auto& step = task.steps.emplace_back();
      for (int t = 0; t < kAttempts; ++t) {
        const double judge = (0.75 + 0.5 * unit()) * kCritic;
        step.push_back({kCritic * point.g_over_c, judge * 2.0 / 3.0, judge,
                        unit() < point.p ? SimVerdict::kAccepted : SimVerdict::kRefused});
      }
    }
    task.plan = task.closes.back() + 1;
    task.t_max = kAttempts;
  }
  return tasks;
}

struct Run {
  std::vector<double> e2e;  // by request, microseconds
  Counters counters;
};

Run serve(const Point& point, SpeculationMode mode, int requests, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::vector<SimTask> tasks = tasks_of(point, requests, random);
  LoadConfig config;
  config.speculation.mode = mode;
  config.sim.seed = seed;
  config.sim.scheduler.max_queued = requests;
  if (point.device.shared) {
    const double text_rate = 1.0 / point.device.critic_slowdown;
    config.sim.rate_beside = {text_rate, point.device.generator_rate, text_rate};
  }
  if (point.device.known) {
    config.sim.scheduler.policy.critic_slowdown = point.device.critic_slowdown;
    config.sim.scheduler.policy.generator_rate = point.device.generator_rate;
  }
  const char* text = point.device.shared ? "gpu" : "gpu:1";
  config.lanes = {{{0, Role::kPlanner, kTextSlots, text, "planner"}, kTokenTime},
                  {{1, Role::kGenerator, 1, "gpu", "generator"}},
                  {{2, Role::kCritic, kTextSlots, text, "critic"}, kTokenTime}};
  if (point.load > 0.0) {
    config.concurrency = 0;
    double attempts = 0.0;
    for (int t = 0; t < kAttempts; ++t) attempts += std::pow(1.0 - point.p, t);
    const double work = kCritic * point.g_over_c * attempts * point.steps;
    std::exponential_distribution<double> gap(point.load / work);
    double when = 0.0;
    for (int i = 0; i < requests; ++i) config.arrivals.push_back(std::llround(when += gap(random)));
  }
  const LoadReport report = simulate_load(config, tasks);
  Run run{{}, report.counters};
  REQUIRE(report.complete);
  REQUIRE(report.counters.requests_ended[0] == tasks.size());
  for (const LoadRequest& request : report.requests) {
    run.e2e.push_back(static_cast<double>(request.ended - request.submitted));
  }
  return run;
}

// `auto` over `off`, with one-sided 95 % bounds from a paired bootstrap over blocks of successive
// requests (neighbours share a queue and are not independent).
struct Ratio {
  double mean = 1.0;
  double mean_low = 1.0;
  double p99 = 1.0;
  double p99_low = 1.0;
};

double percentile(std::vector<double>& values, double share) {
  const auto at =
      static_cast<std::size_t>(std::ceil(share * static_cast<double>(values.size())) - 1.0);
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(at), values.end());
  return values[at];
}

double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

Ratio compare(const std::vector<double>& off, const std::vector<double>& automatic,
              std::uint64_t seed) {
  constexpr int kResamples = 200;
  constexpr std::size_t kBlock = 10;
  const std::size_t n = off.size();
  std::vector<double> a = off;
  std::vector<double> b = automatic;
  Ratio out;
  out.mean = mean(b) / mean(a);
  out.p99 = percentile(b, 0.99) / percentile(a, 0.99);
  std::mt19937_64 random(seed);
  std::vector<double> means;
  std::vector<double> tails;
  for (int round = 0; round < kResamples; ++round) {
    for (std::size_t i = 0; i < n;) {
      std::size_t from = random() % n;
      for (std::size_t k = 0; k < kBlock && i < n; ++k, ++i, from = (from + 1) % n) {
        a[i] = off[from];
        b[i] = automatic[from];
      }
    }
    means.push_back(mean(b) / mean(a));
    tails.push_back(percentile(b, 0.99) / percentile(a, 0.99));
  }
  out.mean_low = percentile(means, 0.05);
  out.p99_low = percentile(tails, 0.05);
  return out;
}

int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

struct Row {
  Point point;
  Ratio ratio;
  double started = 0.0;  // generate calls started ahead, per request
  double used = 0.0;

  [[nodiscard]] bool breaks() const {
    return ratio.mean > kMeanLimit || ratio.p99_low > kTailLimit;
  }
};

void print(const Row& row) {
  std::printf("  %s  mean %.4f (>= %.4f)  p99 %.4f (>= %.4f)  ahead %.2f used %.2f%s\n",
              row.point.name().c_str(), row.ratio.mean, row.ratio.mean_low, row.ratio.p99,
              row.ratio.p99_low, row.started, row.used, row.breaks() ? "  BROKEN" : "");
}

const std::vector<Device>& devices() {
  static const std::vector<Device> all = {
      {"separate", false, 1.0, 1.0, false},     {"shared 1.1/.9", true, 1.1, 0.9, false},
      {"shared 1.5/.8", true, 1.5, 0.8, false}, {"sliced 2/.5", true, 2.0, 0.5, false},
      {"known 1.1/.9", true, 1.1, 0.9, true},   {"known 2/.5", true, 2.0, 0.5, true},
      {"room for all", true, 1.0, 1.0, false}};
  return all;
}

std::vector<Point> grid(bool full) {
  std::vector<Point> points;
  std::size_t at = 0;
  for (const Device& device : devices()) {
    for (const double p : {0.2, 0.4, 0.6, 0.8, 1.0}) {
      for (const double g_over_c : {0.25, 0.5, 1.0, 2.0, 4.0}) {
        for (const int steps : {1, 3, 5, 10}) {
          for (const double load : {0.1, 0.3, 0.6, 0.9, 1.2}) {
            // A step that is coprime to the sides visits every value of every side.
            if (full || at++ % 37 == 0) points.push_back({p, g_over_c, steps, load, device});
          }
        }
      }
    }
  }
  return points;
}

TEST_CASE("law 4: auto is not slower than off, over a grid of workloads") {
  const char* wish = std::getenv("IRT_GRID");
  const bool full = wish != nullptr && std::string(wish) == "full";
  const int requests = number("IRT_REQUESTS", full ? 400 : 200);
  const auto seed = static_cast<std::uint64_t>(number("IRT_SEED", 1));
  std::vector<Row> rows;
  for (const Point& point : grid(full)) {
    const Run off = serve(point, SpeculationMode::kOff, requests, seed);
    const Run automatic = serve(point, SpeculationMode::kAuto, requests, seed);
    const RoleCounters& made = automatic.counters.role[static_cast<std::size_t>(Role::kGenerator)];
    rows.push_back({point, compare(off.e2e, automatic.e2e, seed),
                    static_cast<double>(made.speculated) / requests,
                    static_cast<double>(made.speculation_used) / requests});
  }
  const auto worst = [](const Row& a, const Row& b) { return a.ratio.mean > b.ratio.mean; };
  const std::size_t shown = std::min<std::size_t>(rows.size(), full ? 20 : 8);
  std::printf("law 4: %zu points of %d requests, seed %d\n worst means\n", rows.size(), requests,
              static_cast<int>(seed));
  std::sort(rows.begin(), rows.end(), worst);
  for (std::size_t i = 0; i < shown; ++i) print(rows[i]);
  std::printf(" by device: geometric mean of the ratios of means; points above 1; broken\n");
  for (const Device& device : devices()) {
    double logs = 0.0;
    int count = 0;
    int above = 0;
    int broken = 0;
    for (const Row& row : rows) {
      if (std::string(row.point.device.name) != device.name) continue;
      ++count;
      logs += std::log(row.ratio.mean);
      above += row.ratio.mean > 1.0 ? 1 : 0;
      broken += row.breaks() ? 1 : 0;
    }
    if (count == 0) continue;
    std::printf("  %-16s %4d points  %.4f  %d  %d\n", device.name, count, std::exp(logs / count),
                above, broken);
    CHECK(logs <= 0.0005 * count);
  }
  for (const Row& row : rows) {
    if (!row.breaks()) continue;
    INFO(row.point.name());
    CHECK(!row.breaks());
  }
}

// Caution must not cost the gain where it is real: one request at a time.
TEST_CASE("alone on separate devices, auto keeps what a fixed depth gains") {
  constexpr int kRequests = 200;
  for (const double p : {0.6, 0.8, 1.0}) {
    for (const double g_over_c : {0.5, 1.0, 2.0}) {
      const Point point{p, g_over_c, 5, 0.0, devices().front()};
      const Run off = serve(point, SpeculationMode::kOff, kRequests, 7);
      const Run fixed = serve(point, SpeculationMode::kDepth, kRequests, 7);
      const Run automatic = serve(point, SpeculationMode::kAuto, kRequests, 7);
      const double gain = compare(off.e2e, fixed.e2e, 7).mean;
      const double lag = compare(fixed.e2e, automatic.e2e, 7).mean;
      std::printf("alone: p %.1f G/C %.1f  depth 1 / off %.4f  auto / depth 1 %.4f\n", p, g_over_c,
                  gain, lag);
      CHECK(gain < 1.0);
      CHECK(lag < 1.04);  // where a refusal costs half a gain, auto is careful
    }
  }
}

TEST_CASE("alone on a shared device, probes find out whether overlap pays") {
  constexpr int kRequests = 200;
  for (const Device& device : devices()) {
    if (!device.shared || device.known) continue;
    const bool pays = device.critic_slowdown < 2.0;
    for (const double g_over_c : {0.5, 1.0, 2.0}) {
      const Point point{0.8, g_over_c, 5, 0.0, device};
      const Run off = serve(point, SpeculationMode::kOff, kRequests, 7);
      const Run automatic = serve(point, SpeculationMode::kAuto, kRequests, 7);
      const double ratio = compare(off.e2e, automatic.e2e, 7).mean;
      const auto& reasons = automatic.counters.decisions;
      const auto probes = reasons[static_cast<std::size_t>(SpeculationReason::kProbe)];
      std::printf("alone: %-14s G/C %.1f  auto / off %.4f  probes %d\n", device.name, g_over_c,
                  ratio, static_cast<int>(probes));
      CHECK(probes > 0);
      CHECK(probes <= 8);
      CHECK(ratio < (pays ? 0.99 : 1.005));
    }
  }
}

}  // namespace
}  // namespace irt::test
