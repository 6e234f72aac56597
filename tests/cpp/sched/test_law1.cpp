// Law 1 and 2 under random schedules. A failing schedule prints the line that replays it.
//   IRT_SCHEDULES how many (3000), IRT_SEED the first, IRT_JOBS threads (1), IRT_VERBOSE=1 a log.
//   IRT_TRACES=FILE instead: a line for each seed with the hash of all that happened, to compare
//   two versions of the scheduler.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>

#include "random_schedule.h"

namespace irt::test {
namespace {

constexpr const char* kReplay = " IRT_SCHEDULES=1 IRT_VERBOSE=1 test_law1";

// FNV-1a.
void fold(std::uint64_t& hash, const std::string& text) {
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
  }
}

void write_traces(const char* path, std::uint64_t first, std::uint64_t schedules) {
  std::FILE* out = std::fopen(path, "w");
  REQUIRE(out != nullptr);
  Totals totals;
  for (std::uint64_t seed = first; seed < first + schedules; ++seed) {
    std::uint64_t hash = 0xcbf29ce484222325ULL;
    fold(hash, run_schedule(seed, totals, [&hash](const std::string& text) { fold(hash, text); }));
    std::fprintf(out, "%llu %016llx\n", static_cast<unsigned long long>(seed),
                 static_cast<unsigned long long>(hash));
  }
  REQUIRE(std::fclose(out) == 0);
}

TEST_CASE("every schedule commits what the sequential loop commits, or a prefix of it") {
  const std::uint64_t first = env("IRT_SEED", 20260613);
  const std::uint64_t schedules = env("IRT_SCHEDULES", 3000);
  const auto jobs = static_cast<unsigned>(env("IRT_JOBS", 1));
  if (const char* path = std::getenv("IRT_TRACES")) return write_traces(path, first, schedules);
  std::printf("IRT_SEED=%llu IRT_SCHEDULES=%llu: seeds %llu to %llu on %u threads\n",
              static_cast<unsigned long long>(first), static_cast<unsigned long long>(schedules),
              static_cast<unsigned long long>(first),
              static_cast<unsigned long long>(first + schedules - 1), jobs);
  if (env("IRT_VERBOSE", 0) != 0 && schedules == 1) {
    Totals one;
    REQUIRE(run_schedule(first, one,
                         [](const std::string& text) { std::fputs(text.c_str(), stdout); }) == "");
    return;
  }
  const Campaign campaign = run_schedules(first, schedules, jobs);
  if (!campaign.problem.empty()) {
    std::printf("replay: IRT_SEED=%llu%s\n",
                static_cast<unsigned long long>(first + campaign.failed), kReplay);
  }
  REQUIRE(campaign.problem == "");

  const Totals& totals = campaign.totals;
  const auto number = [](std::uint64_t value) { return static_cast<unsigned long long>(value); };
  std::printf(
      "%llu schedules, 0 violations\n%llu events, %llu requests, %llu finished; %llu calls "
      "speculated, %llu preempted, "
      "%llu restarted\n",
      number(totals.schedules), number(totals.events), number(totals.requests),
      number(totals.finished), number(totals.speculated), number(totals.preempted),
      number(totals.restarted));
  totals.coverage.print(stdout);
  CHECK(totals.schedules == schedules);
  // Rare pairs need many schedules; that an impossible one occurs fails its schedule.
  constexpr std::uint64_t kEnough = 200'000;
  if (schedules >= kEnough) {
    for (const std::string& gap : totals.coverage.gaps()) FAIL_CHECK(gap << " was never seen");
  }
  if (schedules < 1000) return;
  CHECK(totals.events >= 60 * schedules);
  CHECK(totals.requests >= 3 * schedules);
  CHECK(totals.finished > totals.requests / 3);
  CHECK(totals.speculated > totals.requests);
  CHECK(totals.preempted > 100);
  CHECK(totals.restarted > 10);
}

}  // namespace
}  // namespace irt::test
