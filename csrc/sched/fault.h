// Seeded faults: mistakes that the tests switch on one at a time, to show that they would be seen.
// In the product fault() is a constant, and nothing of this is compiled.
#pragma once

#include <cstddef>

namespace irt {

// Each names the mistake that is made while it is on.
enum class Fault {
  kNone,
  // trajectory, facts
  kWrongSeedIndex,          // a retry takes the seed of the first attempt
  kRetrySeedKept,           // a critic is asked again with the seed of the unreadable answer
  kRetryFromFailedAttempt,  // not from the final image of the step before
  kWrongBefore,             // the critic sees a white picture before every step
  kRefinedPromptDropped,    // the next attempt uses the old prompt
  kTMaxOffByOne,            // the last attempt is not made
  kBestIsLast,              // keep=best takes the last attempt
  kBestTieIsFirst,          // keep=best takes the earliest of equals
  kVerdictNotRetried,       // an unreadable verdict is not asked for again
  kPlanNotRetried,          // an unreadable plan fails the request at once
  kDroppedVerdictCounts,    // the T_max-th verdict decides where it is only waited for
  kTruncationLost,          // plan_truncated is not told
  kToldBeforeCommit,        // a speculative image is delivered before its step is committed
  kVerdictAfterCommit,      // wrong order of deliveries
  kDoubleCommit,            // the cursor stays where it was
  kStalePartial,            // a boolean that belongs to another call is believed
  kImageReleasedEarly,      // the source of the step under way
  kImageKept,               // images that nobody needs are held to the end of the request
  kImageLeakedAtEnd,        // an ended request releases nothing
  // scheduler
  kStaleResult,            // a result is taken for whatever has its place now
  kLateImageLeaked,        // of a call that comes in after its request has ended
  kImageReleasedTwice,     // of a call that nobody wants any more
  kCancelAckLost,          // CallCancelled leaves the call under way
  kSlotLeaked,             // a failed call keeps its slot
  kLostCallsNotRestarted,  // calls of a lane that died
  kWasteNotCounted,        // speculation that died with its lane
  kAheadFailureCounts,     // a failed speculative run fails the request
  // reconcile, policy
  kStarvation,        // the latest request always goes first
  kNoPreemption,      // speculation is treated like committed work
  kPromoteForgotten,  // the lane is not told
  kCancelledTwice,    // a call is cancelled again
  kUnwantedGoesOn,    // a call that nobody wants is not cancelled
  kDepthOffByOne,     // one verdict deeper than asked for
  kSpeculationFirst,  // a free slot goes to speculation while committed work waits
  kWantedNotCertain,  // a call that was promoted by a verdict stays speculative
  // admission
  kAdmissionOffByOne,   // one live request too many
  kQueueOffByOne,       // one waiting request too many
  kDeadlineIgnored,     // by requests that run
  kWakeForgotten,       // no wake-up for deadlines
  kLaneGraceIgnored,    // a request waits for ever for a lane that is gone
  kCancelForgotten,     // of a request with a call under way
  kEndedTwice,          // a request that has ended is cancelled
  kConsumedKeepsPlace,  // in admission
  kQueueNotAdmitted,    // when a place becomes free
  kCount
};
inline constexpr std::size_t kFaults = static_cast<std::size_t>(Fault::kCount);

#ifdef IRT_FAULTS
inline Fault active_fault = Fault::kNone;  // set by the test, between runs
[[nodiscard]] inline bool fault(Fault what) noexcept { return active_fault == what; }
#else
[[nodiscard]] constexpr bool fault(Fault) noexcept { return false; }
#endif

}  // namespace irt
