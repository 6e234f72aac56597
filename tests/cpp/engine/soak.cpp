// Mixed load for IRT_SOAK_SECONDS (60): memory must stay flat and every book bounded.
//
//   soak        exit status 0, or 1 with what grew or broke
//
// Four clients keep eight requests each under way; half are cancelled at a random moment, the
// others are read to their end and compared with the sequential loop (law 1); more texts are
// encoded than the cache holds. The resident set (/proc/self/statm) is read once a
// second. After a warm-up of a fifth of the time the rest falls into thirds: the mean of the last
// third may exceed that of the first by 2 % + 2 MiB.
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "engine/storm.h"

using namespace irt;
using namespace irt::test;

namespace {

using Ticks = std::chrono::steady_clock;

constexpr int kClients = 4;
constexpr int kWindow = 8;
constexpr int kRequests = kClients * kWindow;
constexpr int kSlots = 8;  // of each role
constexpr std::size_t kTextCache = 512;
constexpr double kGrowth = 0.02;
constexpr double kGrowthMib = 2.0;

double resident_mib() {
  std::ifstream file("/proc/self/statm");
  long total = 0;
  long resident = 0;
  file >> total >> resident;
  return static_cast<double>(resident) * static_cast<double>(sysconf(_SC_PAGESIZE)) / (1 << 20);
}

double mean(const std::vector<double>& values, std::size_t begin, std::size_t end) {
  return std::accumulate(values.begin() + static_cast<std::ptrdiff_t>(begin),
                         values.begin() + static_cast<std::ptrdiff_t>(end), 0.0) /
         static_cast<double>(std::max<std::size_t>(1, end - begin));
}

// Texts that are encoded ahead and on demand: four times as many as the cache holds.
void use_texts(Driver& driver, Random& random) {
  TextJob job;
  job.text = "prompt " + std::to_string(random.between(0, 4 * static_cast<int>(kTextCache)));
  if (random.chance(0.5)) {
    driver.text().prefetch(std::move(job));
  } else {
    driver.text().request(std::move(job), [](EncodedRef, std::optional<Failure>) {});
  }
}

}  // namespace

int main() {
  const double seconds = static_cast<double>(setting("IRT_SOAK_SECONDS", 60));
  const std::uint64_t seed = setting("IRT_SEED", 60'000);
  DriverConfig limits;
  limits.scheduler.max_live = 16;
  limits.scheduler.max_queued = 64;
  limits.text_cache = kTextCache;
  limits.image_bytes = std::size_t{8} << 20;
  ScriptedConfig lanes = quick_config();
  lanes.script.image_size = 16;
  lanes.script.unreadable_verdict = 0.05;
  lanes.script.unreadable_refined = 0.1;
  lanes.times.jitter = 0.5;
  lanes.planner_slots = lanes.generator_slots = lanes.critic_slots = kSlots;
  int faults = 0;
  const auto expect = [&faults](bool holds, const std::string& what) {
    if (!holds && faults++ < 10) std::printf("FAULT: %s\n", what.c_str());
  };
  std::vector<double> mib;
  ClientTotals totals;
  Driver driver(limits);
  add_scripted_lanes(driver, lanes);
  const auto begin = Ticks::now();
  const auto passed = [begin] {
    return std::chrono::duration<double>(Ticks::now() - begin).count();
  };
  {
    const TextWorker worker(driver);
    std::jthread clients([&] {
      ClientConfig config;
      config.seed = seed;
      config.window = kWindow;
      config.longest_us = 4'000;
      config.finish = 0.5;
      config.script = &lanes.script;
      totals = run_clients(driver, config, kClients, [&] { return passed() >= seconds; });
    });
    std::jthread texts([&](const std::stop_token& stop) {
      Random random(seed * 7);
      while (!stop.stop_requested()) {
        use_texts(driver, random);
        std::this_thread::sleep_for(std::chrono::microseconds(500));
      }
    });
    for (double next = 1.0; passed() < seconds; next += 1.0) {
      std::this_thread::sleep_until(
          begin + std::chrono::duration_cast<Ticks::duration>(std::chrono::duration<double>(next)));
      mib.push_back(resident_mib());
      const DriverCounters now = driver.counters();
      expect(now.live <= 2 * kRequests && now.records <= 2U * kRequests, "too many requests");
      expect(now.running <= 3 * kSlots, "more calls run than there are slots");
      // A request that is being read never lacks what it would have alone.
      expect(now.image_bytes <= 2 * limits.image_bytes, "more images than twice image_bytes");
    }
  }
  const std::uint64_t requests = totals.requests;
  const auto& ends = totals.ends;
  expect(totals.fault.empty(), totals.fault);
  const std::string rest = left_behind(driver);
  expect(rest.empty(), rest);
  const DriverCounters left = driver.counters();
  const auto& said = left.scheduler.requests_ended;
  expect(std::accumulate(said.begin(), said.end(), std::uint64_t{0}) == requests,
         "a request did not end, or ended twice");
  expect(left.stray_reports == 0, "a lane reported a call that had ended");
  expect(ends[0] > 0 && ends[2] > 0, "no request was finished, or none cancelled");

  const std::size_t warm = mib.size() / 5;
  const std::size_t third = (mib.size() - warm) / 3;
  const double first = mean(mib, warm, warm + third);
  const double last = mean(mib, mib.size() - third, mib.size());
  std::printf("soak: seed %llu, %.0f s, %llu requests (%.0f/s): %llu finished, %llu cancelled\n",
              static_cast<unsigned long long>(seed), passed(),
              static_cast<unsigned long long>(requests), static_cast<double>(requests) / passed(),
              static_cast<unsigned long long>(ends[0]), static_cast<unsigned long long>(ends[2]));
  std::printf("resident set, MiB:");
  for (std::size_t i = 0; i < mib.size(); i += std::max<std::size_t>(1, mib.size() / 20)) {
    std::printf(" %.2f", mib[i]);
  }
  std::printf("\nfirst third %.2f, last third %.2f, largest %.2f\n", first, last,
              mib.empty() ? 0.0 : *std::max_element(mib.begin(), mib.end()));
  if (third == 0) {
    expect(false, "too short to compare thirds: give IRT_SOAK_SECONDS of 5 or more");
  } else {
    expect(last <= first * (1.0 + kGrowth) + kGrowthMib, "memory grows");
  }
  std::printf("%s\n", faults == 0 ? "soak: passed" : "soak: FAILED");
  return faults == 0 ? 0 : 1;
}
