// Laws 1 and 2 over many random engines, and the storm of cancels. Made to be repeated under the
// sanitizers: IRT_STORMS (runs), IRT_CANCELS, IRT_JOBS (threads), IRT_SEED (of the first run).
#include <doctest/doctest.h>

#include <algorithm>
#include <mutex>

#include "engine/storm.h"

using namespace irt;
using namespace irt::test;

TEST_CASE("random engines under random trouble keep every law") {
  const int runs = static_cast<int>(setting("IRT_STORMS", 100));
  const int jobs = static_cast<int>(setting("IRT_JOBS", 4));
  const std::uint64_t first = setting("IRT_SEED", 40'000);
  std::mutex mutex;
  StormTotals totals;
  const std::vector<std::string> faults = in_parallel(runs, jobs, [&](int i) -> std::string {
    StormTotals own;
    const std::uint64_t seed = first + static_cast<std::uint64_t>(i);
    std::string fault = storm(seed, own);
    const std::lock_guard lock(mutex);
    totals.add(own);
    if (fault.empty()) return fault;
    return fault + "\n  replay: IRT_SEED=" + std::to_string(seed) +
           " IRT_STORMS=1 engine_tests -tc='random engines*' (repeat it: threads decide)";
  });
  for (const std::string& fault : faults) FAIL_CHECK(fault);
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
  constexpr int kClients = 4;
  DriverConfig limits;
  limits.scheduler.max_live = 16;
  limits.scheduler.max_queued = 64;
  Driver driver(limits);
  ScriptedConfig lanes = quick_config();
  lanes.times.jitter = 0.5;
  lanes.planner_slots = lanes.generator_slots = lanes.critic_slots = 8;
  add_scripted_lanes(driver, lanes);
  {
    const auto cancelled = [&driver] {
      return driver.counters()
          .scheduler.requests_ended[static_cast<std::size_t>(Outcome::kCancelled)];
    };
    std::vector<ClientTotals> totals(kClients);
    std::vector<std::jthread> clients;
    for (int i = 0; i < kClients; ++i) {
      clients.emplace_back([&, i] {
        ClientConfig config;
        config.seed = setting("IRT_SEED", 50'000) + static_cast<std::uint64_t>(i);
        config.longest_us = 3'000;
        config.script = &lanes.script;
        totals[static_cast<std::size_t>(i)] =
            run_client(driver, config, [&] { return cancelled() >= wanted; });
      });
    }
    clients.clear();
    std::uint64_t requests = 0;
    for (const ClientTotals& client : totals) {
      CHECK(client.fault == "");
      requests += client.requests;
    }
    CHECK(settles(driver));
    const DriverCounters left = driver.counters();
    MESSAGE(requests << " requests, " << cancelled() << " of them cancelled, the others were done");
    std::uint64_t ended = 0;
    for (const std::uint64_t count : left.scheduler.requests_ended) ended += count;
    CHECK(ended == requests);  // each of them once
    CHECK(cancelled() >= wanted);
    CHECK(left.running == 0);
    CHECK(left.live == 0);
    CHECK(left.records == 0);
    CHECK(left.images == 0);
    CHECK(left.image_bytes == 0);
    CHECK(left.stray_reports == 0);
    CHECK(left.scheduler.strays == 0);
  }
}
