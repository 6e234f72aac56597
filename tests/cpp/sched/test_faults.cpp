// Sensitivity: each seeded fault (csrc/sched/fault.h) is found by the schedules of test_law1.
//   IRT_FAULT=name: this one alone, with IRT_SEED, IRT_SCHEDULES and IRT_VERBOSE as in test_law1.
#include <doctest/doctest.h>

#include <cstdio>
#include <cstring>

#include "random_schedule.h"
#include "sched/fault.h"

namespace irt::test {
namespace {

constexpr std::uint64_t kMost = 20'000;  // schedules until a fault must have been found

struct Named {
  Fault fault;
  const char* name;
};
constexpr Named kNames[] = {
#define IRT_NAME(name) {Fault::name, #name},
    IRT_NAME(kWrongSeedIndex) IRT_NAME(kRetrySeedKept) IRT_NAME(kRetryFromFailedAttempt) IRT_NAME(
        kWrongBefore) IRT_NAME(kRefinedPromptDropped) IRT_NAME(kTMaxOffByOne) IRT_NAME(kBestIsLast)
        IRT_NAME(kBestTieIsFirst) IRT_NAME(kVerdictNotRetried) IRT_NAME(kPlanNotRetried) IRT_NAME(
            kDroppedVerdictCounts) IRT_NAME(kTruncationLost) IRT_NAME(kToldBeforeCommit)
            IRT_NAME(kVerdictAfterCommit) IRT_NAME(kDoubleCommit) IRT_NAME(kStalePartial) IRT_NAME(
                kImageReleasedEarly) IRT_NAME(kImageKept) IRT_NAME(kImageLeakedAtEnd)
                IRT_NAME(kStaleResult) IRT_NAME(kLateImageLeaked) IRT_NAME(kImageReleasedTwice)
                    IRT_NAME(kCancelAckLost) IRT_NAME(kSlotLeaked) IRT_NAME(kLostCallsNotRestarted)
                        IRT_NAME(kWasteNotCounted) IRT_NAME(kAheadFailureCounts) IRT_NAME(
                            kStarvation) IRT_NAME(kNoPreemption) IRT_NAME(kPromoteForgotten)
                            IRT_NAME(kCancelledTwice) IRT_NAME(kUnwantedGoesOn)
                                IRT_NAME(kDepthOffByOne) IRT_NAME(kSpeculationFirst)
                                    IRT_NAME(kWantedNotCertain) IRT_NAME(kAdmissionOffByOne)
                                        IRT_NAME(kQueueOffByOne) IRT_NAME(kDeadlineIgnored)
                                            IRT_NAME(kWakeForgotten) IRT_NAME(kLaneGraceIgnored)
                                                IRT_NAME(kCancelForgotten) IRT_NAME(kEndedTwice)
                                                    IRT_NAME(kConsumedKeepsPlace)
                                                        IRT_NAME(kQueueNotAdmitted)
#undef IRT_NAME
};

struct Armed {
  explicit Armed(Fault fault) { active_fault = fault; }
  ~Armed() { active_fault = Fault::kNone; }
  Armed(const Armed&) = delete;
  Armed& operator=(const Armed&) = delete;
};

TEST_CASE("without a fault the same program finds nothing") {
  const Campaign campaign =
      run_schedules(env("IRT_SEED", 20260613), 3000, static_cast<unsigned>(env("IRT_JOBS", 1)));
  CHECK(campaign.problem == "");
  CHECK(campaign.totals.schedules == 3000);
}

TEST_CASE("every seeded fault is found") {
  static_assert(std::size(kNames) + 1 == kFaults, "every fault has its name here");
  static_assert(std::size(kNames) >= 20);
  const std::uint64_t first = env("IRT_SEED", 20260613);
  const std::uint64_t most = env("IRT_SCHEDULES", kMost);
  const auto jobs = static_cast<unsigned>(env("IRT_JOBS", 1));
  const char* only = std::getenv("IRT_FAULT");
  std::size_t found = 0;
  std::size_t tried = 0;
  std::printf("%-24s %9s  %s\n", "fault", "schedules", "what was seen");
  for (const Named& named : kNames) {
    if (only != nullptr && std::strcmp(only, named.name) != 0) continue;
    ++tried;
    const Armed armed(named.fault);
    if (env("IRT_VERBOSE", 0) != 0 && most == 1) {
      Totals one;
      const auto log = [](const std::string& text) { std::fputs(text.c_str(), stdout); };
      std::printf("%s\n", run_schedule(first, one, log).c_str());
      continue;
    }
    const Campaign campaign = run_schedules(first, most, jobs);
    INFO(std::string(named.name), ": not found in ", most, " schedules");
    CHECK(campaign.problem != "");
    if (campaign.problem.empty()) continue;
    ++found;
    std::printf("%-24s %9llu  %s\n", named.name,
                static_cast<unsigned long long>(campaign.failed + 1), campaign.problem.c_str());
  }
  REQUIRE(tried > 0);
  std::printf(
      "%zu of %zu found; replay one: IRT_FAULT=name IRT_SEED=%llu + schedules - 1 "
      "IRT_SCHEDULES=1 IRT_VERBOSE=1 test_faults -tc='every*'\n",
      found, tried, static_cast<unsigned long long>(first));
}

}  // namespace
}  // namespace irt::test
