// Law 4: with speculation on `auto`, a workload is not slower than with it off.
//
// A grid of workloads in virtual time: mean e2e latency at most 1.00 x of `off`, p99 at most
// 1.02 x. Both arms see the same arrivals and answers, so the ratios are paired. A point breaks the
// law when its ratio of means does not round to 1.00 or less (the policy's first wrong guesses are
// in it), or when the lower one-sided 95 % bound of its p99 ratio lies above the limit.
//
// IRT_GRID=full runs every point (thinned otherwise), IRT_REQUESTS sets the requests of a point.
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "law4_workload.h"

namespace irt::test {
namespace {

constexpr double kMeanLimit = 1.005;
constexpr double kTailLimit = 1.02;

int number(const char* name, int otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::atoi(text);
}

struct Row {
  Law4Point point;
  Law4Ratio ratio;
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

const std::vector<Law4Device>& devices() {
  static const std::vector<Law4Device> all = {
      {"separate", false, 1.0, 1.0, false},     {"shared 1.1/.9", true, 1.1, 0.9, false},
      {"shared 1.5/.8", true, 1.5, 0.8, false}, {"sliced 2/.5", true, 2.0, 0.5, false},
      {"known 1.1/.9", true, 1.1, 0.9, true},   {"known 2/.5", true, 2.0, 0.5, true}};
  return all;
}

std::vector<Law4Point> grid(bool full) {
  std::vector<Law4Point> points;
  std::size_t at = 0;
  for (const Law4Device& device : devices()) {
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
  for (const Law4Point& point : grid(full)) {
    const Law4Run off = serve(point, SpeculationMode::kOff, requests, seed);
    const Law4Run automatic = serve(point, SpeculationMode::kAuto, requests, seed);
    REQUIRE(off.e2e.size() == static_cast<std::size_t>(requests));
    REQUIRE(automatic.e2e.size() == static_cast<std::size_t>(requests));
    const RoleCounters& made = automatic.counters.role[static_cast<std::size_t>(Role::kGenerator)];
    rows.push_back({point, compare(off, automatic, seed),
                    static_cast<double>(made.speculated) / requests,
                    static_cast<double>(made.speculation_used) / requests});
  }
  const auto worst = [](const Row& a, const Row& b) { return a.ratio.mean > b.ratio.mean; };
  const auto tail = [](const Row& a, const Row& b) { return a.ratio.p99 > b.ratio.p99; };
  const std::size_t shown = std::min<std::size_t>(rows.size(), full ? 20 : 8);
  std::printf("law 4: %zu points of %d requests, seed %d\n worst means\n", rows.size(), requests,
              static_cast<int>(seed));
  std::sort(rows.begin(), rows.end(), worst);
  for (std::size_t i = 0; i < shown; ++i) print(rows[i]);
  std::printf(" greatest gains\n");
  for (std::size_t i = 0; i < shown; ++i) print(rows[rows.size() - 1 - i]);
  std::stable_sort(rows.begin(), rows.end(), tail);
  std::printf(" worst p99\n");
  for (std::size_t i = 0; i < shown; ++i) print(rows[i]);
  std::printf(" by device: geometric mean of the ratios of means; points above 1; broken\n");
  for (const Law4Device& device : devices()) {
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
      const Law4Point point{p, g_over_c, 5, 0.0, devices().front()};
      const Law4Run off = serve(point, SpeculationMode::kOff, kRequests, 7);
      const Law4Run fixed = serve(point, SpeculationMode::kDepth, kRequests, 7);
      const Law4Run automatic = serve(point, SpeculationMode::kAuto, kRequests, 7);
      const double gain = compare(off, fixed, 7).mean;
      const double lag = compare(fixed, automatic, 7).mean;
      std::printf("alone: p %.1f G/C %.1f  depth 1 / off %.4f  auto / depth 1 %.4f\n", p, g_over_c,
                  gain, lag);
      CHECK(gain < 1.0);
      CHECK(lag < 1.04);  // where a refusal costs half a gain, auto is careful
    }
  }
}

TEST_CASE("alone on a shared device, probes find out whether overlap pays") {
  constexpr int kRequests = 200;
  for (const Law4Device& device : devices()) {
    if (!device.shared || device.known) continue;
    const bool pays = device.critic_slowdown < 2.0;
    for (const double g_over_c : {0.5, 1.0, 2.0}) {
      const Law4Point point{0.8, g_over_c, 5, 0.0, device};
      const Law4Run off = serve(point, SpeculationMode::kOff, kRequests, 7);
      const Law4Run automatic = serve(point, SpeculationMode::kAuto, kRequests, 7);
      const double ratio = compare(off, automatic, 7).mean;
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
