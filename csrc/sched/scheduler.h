// The scheduler: decides which calls of all requests run on which lanes, and what readers are told.
//
// Responsibilities
//   * Admission: at most `max_live` requests run, at most `max_queued` wait; more are refused.
//     A request holds its place from Submit until Consumed, so that a slow reader stops admission.
//   * Start, promote and cancel calls so that every lane serves committed ("certain") work first;
//     speculate in idle slots only, as policy.h decides.
//   * Deliver what is certain, in order, and end every accepted request exactly once.
//   * Release every image that it was told of (input images and CallDone images) exactly once.
//
// Contracts of the caller (the shell)
//   * One thread at a time (a mutex outside); `now` never goes back. No clock is read here.
//   * Request ids are never used twice. Input images are in the store before Submit; an image that
//     occurs twice in one request is released once.
//   * Carry out commands in order. Every StartCall is answered by exactly one CallDone, CallFailed
//     or CallCancelled, unless LaneDown ends it; after LaneDown nothing about its calls is passed
//     on. A cancelled call may still answer CallDone: the result is used if it is wanted.
//   * Partials come before the terminal event: StepClosed with index 0, 1, ... and VerdictKnown at
//     most once a run. A call that was started again may repeat its partials.
//   * CallDone of a generate call: the image is in the store under the call's key, with one
//     reference for the trajectory, given up at ReleaseImage. Running calls hold their own.
//     A call may be made again later, with the same key and the same pixels (see trajectory.h).
//   * ImageRoom with `little` is followed by one that names another request, or has room again:
//     what waits for room waits for that.
//   * Call apply() with Tick no later than the returned time.
//   * Consumed is sent once the reader has taken RequestEnded, or has gone away after it.
// An event that breaks these (unknown call, second terminal) is dropped and counted as a stray.
//
// Errors: Refuse carries kBadRequest, kLimitExceeded or kOverloaded; RequestEnded carries
// kBackendFailed, kDeadline, kCancelled or kInternal. apply() throws for a LaneUp that makes no
// sense (kInternal) and std::bad_alloc, nothing else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "core/message.h"
#include "sched/policy.h"
#include "sched/service_times.h"
#include "sched/trajectory.h"

namespace irt {

struct RoleCounters {
  std::uint64_t started = 0;     // StartCall
  std::uint64_t speculated = 0;  // of these, started ahead of an unverified verdict
  std::uint64_t promoted = 0;    // PromoteCall
  std::uint64_t preempted = 0;   // cancelled to make room for committed work
  std::uint64_t cancelled = 0;   // CancelCall, for any reason
  std::uint64_t done = 0;
  std::uint64_t failed = 0;
  std::uint64_t restarted = 0;           // after the death of a lane
  std::uint64_t committed = 0;           // results that the program consumed
  std::uint64_t speculation_used = 0;    // speculated and consumed
  std::uint64_t speculation_wasted = 0;  // speculated, and nobody will ever want it
};

struct Counters {
  std::array<RoleCounters, kRoles> role{};
  std::array<std::uint64_t, kMaxAttempts + 1> judged{};    // readable verdicts, by attempt number
  std::array<std::uint64_t, kMaxAttempts + 1> accepted{};  // of these, by attempt number
  std::uint64_t plans_unreadable = 0;                      // planner answers
  std::uint64_t verdicts_unreadable = 0;                   // critic answers
  std::uint64_t refined_unreadable = 0;  // refusals whose refined prompt could not be read
  std::uint64_t requests_accepted = 0;
  std::uint64_t requests_refused = 0;
  std::array<std::uint64_t, 4> requests_ended{};  // by Outcome
  std::uint64_t lanes_lost = 0;
  std::uint64_t strays = 0;  // events about calls, lanes or requests that are not there
  std::array<std::uint64_t, kSpeculationReasons> decisions{};  // by SpeculationReason
};

struct DecisionNote {
  RequestId request = 0;
  Key call;
  SpeculationDecision decision;
};

enum class RequestPhase { kQueued, kLive, kEnded };

struct SchedulerConfig {
  int max_live = 8;     // requests with running work
  int max_queued = 64;  // requests that wait for their turn
  // A request that needs a role which has no lane waits this long (microseconds), then it fails.
  TimePoint lane_grace = 10'000'000;
  std::size_t max_text_bytes = std::size_t{1} << 20;
  std::size_t max_input_images = 64;
  PolicyConfig policy;
};

class Scheduler {
 public:
  using Config = SchedulerConfig;

  // `counted`: what another one has counted that this one takes the place of.
  explicit Scheduler(const Config& config, Counters counted = {});
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Takes one event and appends the commands that follow from it. Returns when apply() must be
  // called next (with Tick, if nothing else happens before), or kNever.
  [[nodiscard]] TimePoint apply(Event event, TimePoint now, std::vector<Command>& out);

  // While draining, every Submit is refused; what was accepted goes on to its end.
  void set_draining(bool draining) noexcept { draining_ = draining; }

  // Whether it was admitted and has not ended.
  [[nodiscard]] bool is_live(RequestId request) const {
    const auto found = requests_.find(request);
    return found != requests_.end() && found->second->phase == RequestPhase::kLive;
  }
  [[nodiscard]] const Counters& counters() const noexcept { return counters_; }
  // What the last apply() decided about calls ahead of a verdict. A decision is told once for each
  // call, and again when its reason changes.
  [[nodiscard]] const std::vector<DecisionNote>& decisions() const noexcept { return decisions_; }

 private:
  friend struct Snapshot;  // of the tests

  // A call on a lane. It owns a slot there until its terminal event.
  struct RunningCall {
    RequestId request = 0;
    Role role = Role::kPlanner;
    LaneId lane = 0;
    bool started_ahead = false;  // it was speculative when it was started
    bool speculative = false;    // it still is
    bool cancelling = false;
    bool early_verdict = true;  // the boolean, not the end of the answer, is waited for
    double probability = 1.0;   // that it will be asked for
    TimePoint cancel_sent = 0;
    bool sampled = false;   // its service time has been taken
    bool streamed = false;  // plan: its first step has closed
    CallTiming timing;
  };

  struct Lane {
    LaneInfo info;
    std::size_t device = 0;
    std::vector<Key> running;
    int committed = 0;  // of these, not speculative
    // What questions about it have in common; none: not asked since a call was started.
    std::optional<SpeculationCase> load;
    [[nodiscard]] int free() const noexcept {
      return info.capacity - static_cast<int>(running.size());
    }
  };

  struct RequestState {
    RequestState(RequestId id_, RequestSpec spec) : id(id_), trajectory(id_, std::move(spec)) {}
    RequestId id;
    Trajectory trajectory;
    RequestPhase phase = RequestPhase::kQueued;
    bool admitted = false;
    bool stale = false;       // its trajectory has new facts
    int max_beyond = 0;       // unverified verdicts that its trajectory is read beyond
    std::uint64_t order = 0;  // of submission
    std::vector<PendingCall> pending_calls;
    std::vector<Key> running;                     // cancelled calls included
    std::vector<CallRef> speculated;              // started ahead; neither used nor wasted yet
    std::vector<Key> failed_ahead;                // not to be speculated on again
    std::vector<std::pair<Key, int>> lost;        // calls whose lane died, and how often
    std::vector<StepPrefetch> prefetches;         // to be sent
    int generated_step = -1;                      // the furthest step with a generate call started
    std::array<TimePoint, kRoles> last_served{};  // when a slot was granted last; or admission
    std::array<TimePoint, kRoles> waiting_since{};  // of certain calls; kNever: none waits
    std::array<int, kRoles> waiting{};              // certain calls that do not run
    std::array<int, kRoles> speculative_ready{};    // speculative ones that may be started
    std::array<std::optional<LaneId>, kRoles> last_lane{};
    std::vector<std::pair<Key, SpeculationReason>> told;  // last decision on each call, bounded
  };
  using Requests = std::vector<RequestState*>;

  // Events and requests: scheduler.cpp.
  void on(Submit&& event);
  void on(StepClosed&& event);
  void on(VerdictKnown&& event);
  void on(CallDone&& event);
  void on(CallFailed&& event);
  void on(CallCancelled&& event);
  void on(LaneUp&& event);
  void on(LaneDown&& event);
  void on(CancelRequest&& event);
  void on(Consumed&& event);
  void on(Tick&&) {}
  void on(ImageRoom&& event) { image_room_ = event; }
  [[nodiscard]] std::optional<Failure> check(const Submit& event) const;
  [[nodiscard]] RequestState* active(RequestId request);  // null: queued, ended or unknown
  [[nodiscard]] RunningCall* under_way(const Key& call);
  [[nodiscard]] RequestState* waiting_for(RequestId request, const Key& call);
  void ended_without(const Key& key, const RunningCall& run, Failure&& failure);
  void mark_stale(RequestState& state);
  void call_failed(RequestState& state, const Key& key, bool started_ahead, Failure&& failure);
  void call_lost(RequestState& state, const Key& key, const RunningCall& run, const Failure& why);
  void admit();
  void expire();
  [[nodiscard]] TimePoint grace_end(const RequestState& state, std::size_t role) const;
  [[nodiscard]] TimePoint next_wake() const;
  void refresh(RequestState& state);
  void tell(RequestState& state, Progress& progress);
  void end(RequestState& state, Outcome outcome, std::optional<Failure> failure);
  void retire(RequestState& state);

  // Slots of lanes: placement.cpp.
  [[nodiscard]] Lane* find_lane(LaneId id);
  [[nodiscard]] bool has_lane(Role role) const noexcept;
  [[nodiscard]] Lane* pick_lane(Role role, const RequestState& state);
  [[nodiscard]] static const PendingCall* find_pending(const RequestState& state, const Key& key);
  [[nodiscard]] bool startable(const RequestState& state, const PendingCall& pending) const;
  void recount(RequestState& state);
  static void enlist(Requests& list, RequestState& state, bool wanted);
  void fill_slots(Role role);
  [[nodiscard]] bool has_room(Role role, const RequestState& state) const noexcept;
  [[nodiscard]] RequestState* next_waiting(Role role);
  bool start_certain(Role role);
  bool start_speculative(Role role);
  void preempt(Role role);
  void start(RequestState& state, const PendingCall& pending, Lane& lane);
  void cancel(const Key& key, RunningCall& run);
  RunningCall finish(const Key& key);  // frees the slot
  void settle_speculation(RequestState& state, const Key& key, bool used);
  void send_prefetches(RequestState& state);
  [[nodiscard]] SpeculationCase load_of(const Lane& lane) const;
  [[nodiscard]] SpeculationDecision ask_policy(const RequestState& state,
                                               const PendingCall& pending, Lane& lane);
  void describe_request(const RequestState& state, const Lane& lane, SpeculationCase& question);
  void note(RequestState& state, const Key& call, const SpeculationDecision& decision);
  [[nodiscard]] std::optional<double> time_left(const RunningCall& run) const;
  void find_rivals(const RequestState& mine, Role role, int spare, std::vector<double>& out);
  [[nodiscard]] RoleCounters& count(Role role) { return counters_.role[index_of(role)]; }

  SchedulerConfig config_;
  bool draining_ = false;
  Counters counters_;
  std::vector<DecisionNote> decisions_;  // of the last event

  // The event under way.
  TimePoint now_ = 0;
  std::vector<Command>* out_ = nullptr;
  Requests stale_;        // to be read again
  Requests prefetching_;  // with prefetches to send
  Progress progress_;

  std::unordered_map<RequestId, std::unique_ptr<RequestState>> requests_;
  std::deque<RequestId> queue_;
  std::set<std::pair<TimePoint, RequestId>> deadlines_;
  std::uint64_t orders_ = 0;
  int live_ = 0;    // admitted and not consumed
  int going_ = 0;   // admitted and not ended
  int queued_ = 0;  // never admitted and not consumed

  std::unordered_map<Key, RunningCall> running_;
  std::vector<Lane> lanes_;
  std::array<TimePoint, kRoles> missing_since_{};  // since when a role has no lane
  std::array<Failure, kRoles> missing_why_{};
  ImageRoom image_room_;
  std::array<Requests, kRoles> waiting_;            // with certain calls that do not run
  std::array<Requests, kRoles> speculative_ready_;  // with speculative calls that may be started

  ServiceTimes service_times_;
  AcceptModel accepts_;
  std::array<DecayingMean, kRoles> cancel_delay_{};
  DecayingMean first_step_;  // from a plan's start to its first step
  int probes_ = 0;
  // When committed calls of other roles end, soonest first, and whose they are.
  std::vector<std::pair<double, RequestId>> rivals_;
  bool rivals_known_ = false;
};

}  // namespace irt
