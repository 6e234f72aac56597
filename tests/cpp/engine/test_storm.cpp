// Laws 1 and 2 with real threads over many random engines: whatever the lanes, the clock and the
// neighbours do, the result is that of the sequential loop, or a prefix of it where a request ends
// early. Made to be repeated under the sanitizers: IRT_STORMS (runs), IRT_RUNS (a factor for the
// calm ones), IRT_CANCELS, IRT_JOBS (threads), IRT_SEED (of the first run).
#include <doctest/doctest.h>

#include <algorithm>
#include <mutex>
#include <numeric>

#include "engine/storm.h"

using namespace irt;
using namespace irt::test;

namespace {

StormTotals storms(Weather weather, int count, std::uint64_t first) {
  std::mutex mutex;
  StormTotals totals;
  const int jobs = static_cast<int>(setting("IRT_JOBS", 4));
  const std::vector<std::string> faults = in_parallel(count, jobs, [&](int i) -> std::string {
    StormTotals own;
    const std::uint64_t seed = first + static_cast<std::uint64_t>(i);
    std::string fault = storm(weather, seed, own);
    const std::lock_guard lock(mutex);
    totals.add(own);
    if (fault.empty()) return fault;
    return fault + "\n  seed " + std::to_string(seed) + " (repeat it: threads decide)" +
           (weather == Weather::kStorm ? ", replay: IRT_SEED=" + std::to_string(seed) +
                                             " IRT_STORMS=1 engine_tests -tc='random engines*'"
                                       : "");
  });
  for (const std::string& fault : faults) FAIL_CHECK(fault);
  return totals;
}

}  // namespace

TEST_CASE("every timing, speculation and neighbour gives the sequential loop's result") {
  const StormTotals totals = storms(Weather::kCalm, runs(20), 7'000);
  CHECK(totals.ends[0] > 0);
}

TEST_CASE("a failing lane fails the request with a prefix of the loop's result") {
  const StormTotals totals = storms(Weather::kFailing, runs(12), 8'000);
  CHECK(totals.ends[0] > 0);
  CHECK(totals.ends[1] > 0);
}

TEST_CASE("random engines under random trouble keep every law") {
  const int runs = static_cast<int>(setting("IRT_STORMS", 140));
  const std::uint64_t first = setting("IRT_SEED", 40'000);
  const StormTotals totals = storms(Weather::kStorm, runs, first);
  MESSAGE(runs << " engines from seed " << first << ": " << totals.requests << " requests, "
               << totals.ends[0] << " finished, " << totals.ends[1] << " failed, " << totals.ends[2]
               << " cancelled, " << totals.ends[3] << " too late, " << totals.forgotten
               << " forgotten; " << totals.closed << " engines closed, " << totals.lanes_lost
               << " lanes lost; " << totals.outside << " engines with lanes from outside, "
               << totals.handed_out << " calls handed out, " << totals.leases << " leases ran out, "
               << totals.strays << " stray answers");
  if (runs < 100) return;
  // Otherwise the laws were not tried.
  CHECK(std::ranges::all_of(totals.ends, [](int count) { return count > 0; }));
  CHECK(totals.forgotten > 0);
  CHECK(totals.closed > 0);
  CHECK(totals.lanes_lost > 0);
  CHECK(totals.outside > 0);
  CHECK(totals.leases > 0);
  CHECK(totals.strays > 0);
}

TEST_CASE("ten thousand cancelled requests leave nothing behind") {
  const std::uint64_t wanted = setting("IRT_CANCELS", 10'000);
  DriverConfig limits;
  limits.scheduler.max_live = 16;
  limits.scheduler.max_queued = 64;
  Driver driver(limits);
  ScriptedConfig lanes = quick_config();
  lanes.times.jitter = 0.5;
  lanes.planner_slots = lanes.generator_slots = lanes.critic_slots = 8;
  add_scripted_lanes(driver, lanes);
  const auto cancelled = [&driver] {
    return driver.counters()
        .scheduler.requests_ended[static_cast<std::size_t>(Outcome::kCancelled)];
  };
  ClientConfig config;
  config.seed = setting("IRT_SEED", 50'000);
  config.longest_us = 3'000;
  config.script = &lanes.script;
  const ClientTotals totals = run_clients(driver, config, 4, [&] { return cancelled() >= wanted; });
  CHECK(totals.fault == "");
  CHECK(left_behind(driver) == "");
  const DriverCounters left = driver.counters();
  MESSAGE(totals.requests << " requests, " << cancelled()
                          << " of them cancelled, the others were done");
  const auto& ended = left.scheduler.requests_ended;
  CHECK(std::accumulate(ended.begin(), ended.end(), std::uint64_t{0}) == totals.requests);
  CHECK(cancelled() >= wanted);
  CHECK(left.stray_reports == 0);
  CHECK(left.scheduler.strays == 0);
}
