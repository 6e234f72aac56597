// The state of a scheduler. Private to scheduler.cpp (calls and lanes), admission.cpp (requests),
// reconcile.cpp (slots) and snapshot.cpp.
#pragma once

#include <array>
#include <deque>
#include <memory>
#include <set>
#include <unordered_map>
#include <utility>
#include <vector>

#include "sched/overlap.h"
#include "sched/scheduler.h"
#include "sched/trajectory.h"

namespace irt {

class Scheduler::Impl {
 public:
  explicit Impl(const SchedulerConfig& config);

  TimePoint apply(Event&& event, TimePoint now, std::vector<Command>& out);
  [[nodiscard]] bool idle() const noexcept;
  [[nodiscard]] Snapshot snapshot() const;

  bool draining_ = false;
  Counters counters_;
  std::vector<DecisionNote> notes_;  // of the last event

 private:
  struct Run {
    RequestId request = 0;
    Role role = Role::kPlanner;
    LaneId lane = 0;
    bool ahead = false;        // it was started speculatively
    bool speculative = false;  // and it still is
    bool cancelling = false;
    bool early_verdict = true;  // the boolean, not the end of the answer, is waited for
    double probability = 1.0;
    TimePoint cancel_sent = 0;
    bool sampled = false;
    bool streamed = false;  // plan: its first step has closed
    OverlapMark mark;
  };
  using RunEntry = std::pair<const Key, Run>;

  struct Lane {
    LaneInfo info;
    std::size_t device = 0;
    std::vector<Key> runs;
    [[nodiscard]] int free() const noexcept {
      return info.capacity - static_cast<int>(runs.size());
    }
  };

  struct Live {
    Live(RequestId id_, RequestSpec spec) : id(id_), trajectory(id_, std::move(spec)) {}
    RequestId id;
    Trajectory trajectory;
    RequestPhase phase = RequestPhase::kQueued;
    bool admitted = false;
    bool touched = false;
    int limit = 0;            // of reading ahead
    std::uint64_t order = 0;  // of submission
    std::vector<Want> wants;
    std::vector<Key> runs;                    // under way, cancelled ones included
    std::vector<Taken> ahead;                 // started speculatively, fate not known yet
    std::vector<Key> barred;                  // failed when started ahead: again only when certain
    std::vector<std::pair<Key, int>> lost;    // died with a lane, how often
    std::vector<StepHint> hints;              // to be sent
    int generated_step = -1;                  // the furthest step with a generate call started
    std::array<TimePoint, kRoles> served{};   // when a role was granted last (or admission)
    std::array<TimePoint, kRoles> starved{};  // since when a certain want waits; kNever = none does
    std::array<int, kRoles> waiting{};        // certain wants without a run
    std::array<int, kRoles> hopeful{};        // speculative wants that may be started
    std::array<LaneId, kRoles> affinity{};
    std::array<bool, kRoles> has_affinity{};
    std::vector<std::pair<Key, SpeculationReason>> judged;  // last said of each call, bounded
    std::optional<SpeculationDecision> decision;            // the last one
  };

  // events (scheduler.cpp, admission.cpp)
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
  [[nodiscard]] std::optional<Failure> check(const Submit& event) const;
  void admit();
  void expire();
  void end(Live& live, Outcome outcome, std::optional<Failure> failure);
  void retire(Live& live);
  void lose(Live& live, const Key& key, const Run& run, const Failure& why);
  void call_failed(Live& live, const Key& key, bool ahead, Failure&& failure);
  void touch(Live& live);
  void flush(Live& live, Reading& reading);
  [[nodiscard]] Live* running(RequestId request);  // null unless its trajectory goes on
  [[nodiscard]] TimePoint next_wake() const;

  // slots (reconcile.cpp)
  void refresh(Live& live);
  void recount(Live& live);
  void enlist(std::vector<Live*>& list, Live& live, bool wanted);
  void reconcile(Role role);
  [[nodiscard]] Live* next_waiting(Role role);
  bool start_certain(Role role);
  bool start_speculative(Role role);
  void preempt(Role role);
  void start(Live& live, const Want& want, Lane& lane);
  void cancel(const Key& key, Run& run);
  Run finish(const Key& key);  // frees the slot
  void forget_ahead(Live& live, const Key& key, bool used);
  void send_hints(Live& live);
  [[nodiscard]] SpeculationDecision judge(Live& live, const Want& want, const Lane& lane);
  void ask_auto(const Live& live, const Lane& lane, SpeculationCase& question);
  void record(Live& live, const Key& call, const SpeculationDecision& decision);
  [[nodiscard]] std::optional<double> time_left(const Run& run) const;
  [[nodiscard]] std::optional<double> first_step_time() const;
  void find_rivals(const Live& mine, Role role, std::vector<double>& out) const;
  [[nodiscard]] Lane* pick_lane(Role role, const Live& live);
  [[nodiscard]] Lane* find_lane(LaneId id);
  [[nodiscard]] int lanes_of(Role role) const noexcept;
  [[nodiscard]] bool startable(const Live& live, const Want& want) const;
  [[nodiscard]] RoleCounters& count(Role role) { return counters_.role[index_of(role)]; }
  [[nodiscard]] static const Want* find_want(const Live& live, const Key& key);

  SchedulerConfig config_;
  TimePoint now_ = 0;
  std::vector<Command>* out_ = nullptr;
  std::uint64_t orders_ = 0;
  int live_ = 0;   // admitted and not consumed
  int going_ = 0;  // admitted and not ended
  int queued_ = 0;

  std::unordered_map<RequestId, std::unique_ptr<Live>> requests_;
  std::deque<RequestId> queue_;
  std::set<std::pair<TimePoint, RequestId>> deadlines_;
  std::unordered_map<Key, Run> runs_;
  std::vector<Lane> lanes_;
  std::array<TimePoint, kRoles> missing_{};  // since when a role has no lane
  std::array<Failure, kRoles> missing_why_{};
  std::array<std::vector<Live*>, kRoles> waiting_;  // requests with certain wants without a run
  std::array<std::vector<Live*>, kRoles> hopeful_;  // requests with startable speculative wants
  std::vector<Live*> touched_;                      // to be read again
  std::vector<Live*> hinting_;                      // with hints to send
  Reading reading_;

  OverlapMeter meter_;
  AcceptModel accepts_;
  std::array<DecayingMean, kRoles> cancel_delay_{};
  DecayingMean first_step_;  // from a plan's start to its first step
  int probes_ = 0;
};

}  // namespace irt
