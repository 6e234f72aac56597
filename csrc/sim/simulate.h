// Virtual time: lanes that compute nothing, driven through the real scheduler.
// A simulation is a pure function of its inputs and its seed.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <variant>
#include <vector>

#include "core/message.h"
#include "sched/scheduler.h"

namespace irt {

// What a call will answer, and when: times are microseconds of work, reached at rate 1 when the
// call has its lane and its device to itself.
struct SimAnswer {
  std::variant<CallResult, Failure> end;
  TimePoint work = 1;
  std::vector<TimePoint> steps_closed;     // plan: when step k closes; missing = not streamed
  std::optional<TimePoint> verdict_known;  // judge: when the boolean is known; none = not streamed
  // > 0: the work has so many equal parts, and a cancelled call ends with the part that it is in
  // (a denoising step), even where that is the last one. 0: after the lane's cancel_delay.
  int cancel_parts = 0;
  TimePoint accepted_tail = 0;  // judge: from an accepted boolean to the end, with early verdicts
};
using SimModel = std::function<SimAnswer(const StartCall&)>;

struct SimLane {
  LaneInfo info;
  TimePoint cancel_delay = 0;  // a call that ends sooner answers CallDone all the same
  // How many times as long each of b calls takes while b are active in the lane: [b - 1]; beyond
  // the last one the curve goes on in a straight line. Empty: nothing is slowed.
  std::vector<double> batching = {};
  // What the lane's calls compute on; empty: info.device. The scheduler knows nothing of it: two
  // of its devices may be one machine whose cores they compete for.
  std::string machine = {};
  // Work that a call is spared right after another one of the lane (its weights are in the caches).
  TimePoint warm_saving = 0;
};

// Rate of role r while exactly the roles in `mask` are active on a machine: [mask][r], where bit r
// of the mask is the role r. 1 = as alone.
using SimRates = std::array<std::array<double, kRoles>, std::size_t{1} << kRoles>;

struct SimConfig {
  SchedulerConfig scheduler;
  std::uint64_t seed = 0;  // orders simultaneous events
  // Rate of a role while another role is active on its machine, where `rates` has no table for it.
  std::array<double, kRoles> rate_beside = {1.0, 1.0, 1.0};
  std::map<std::string, SimRates> rates;  // by machine
  TimePoint reader_delay = 0;             // from RequestEnded to Consumed
};

struct SimRequest {
  std::vector<Notice> notices;
  std::optional<Failure> refused;
  TimePoint submitted = 0;
  TimePoint ended = kNever;

  [[nodiscard]] const RequestEnded* end() const;
  [[nodiscard]] std::vector<StepResult> steps() const;  // committed ones
};

class Simulator {
 public:
  using Observer = std::function<void(const Event&, const std::vector<Command>&, const Scheduler&)>;

  Simulator(const SimConfig& config, SimModel model);

  void add_lane(const SimLane& lane, TimePoint at = 0);
  void at(TimePoint when, Event event);
  void observe(Observer observer) { observer_ = std::move(observer); }

  // Until nothing more happens, or `max_events` were applied. False: the limit was reached.
  bool run(std::size_t max_events = 10'000'000);

  [[nodiscard]] TimePoint now() const noexcept { return now_; }
  [[nodiscard]] std::uint64_t events() const noexcept { return events_; }  // applied so far
  [[nodiscard]] const std::map<RequestId, SimRequest>& requests() const noexcept {
    return requests_;
  }
  // Forgets what the request was told, for runs of many requests.
  void forget(RequestId request) { requests_.erase(request); }
  [[nodiscard]] const Scheduler& scheduler() const noexcept { return scheduler_; }
  [[nodiscard]] Scheduler& scheduler() noexcept { return scheduler_; }

 private:
  struct Milestone {
    double work;
    Event event;
    bool terminal;
  };
  struct Active {
    Key key;
    LaneId lane;
    Role role;
    std::size_t machine = 0;
    double rate = 1.0;
    double done = 0.0;
    std::size_t next = 0;  // milestone
    std::vector<Milestone> milestones;
    double part = 0.0;             // work between two cancel points; 0: there are none
    double cancel_work = -1.0;     // of a cancelled call with cancel points: where it ends
    TimePoint cancel_at = kNever;  // of one without
  };
  struct Machine {
    std::string name;
    std::array<int, kRoles> active{};
  };
  struct Source {
    TimePoint when;
    std::size_t what;  // index of an active call; then: timeline, wake-up
    bool cancel;
  };

  [[nodiscard]] double rate(const Active& active) const;
  [[nodiscard]] TimePoint due(const Active& active, double work) const;
  [[nodiscard]] std::size_t machine_of(const SimLane& lane);
  void set_rates();  // whoever is active has changed
  void leave(std::size_t index);
  void advance(TimePoint to);
  [[nodiscard]] bool take_next(Event& event);
  void apply(const Event& event);
  [[nodiscard]] double warm_share(LaneId lane, double work) const;
  void start(const StartCall& start);
  void cancel(const Key& call);
  void carry_out(const Command& command);

  SimConfig config_;
  SimModel model_;
  Scheduler scheduler_;
  std::mt19937_64 random_;
  TimePoint now_ = 0;
  TimePoint wake_ = kNever;
  std::uint64_t events_ = 0;
  std::multimap<TimePoint, Event> timeline_;
  std::map<LaneId, SimLane> lanes_;
  std::map<LaneId, TimePoint> rests_since_;  // lanes without a call
  std::vector<Machine> machines_;
  std::vector<Active> active_;
  bool rates_stale_ = false;
  std::map<RequestId, SimRequest> requests_;
  std::vector<Command> commands_;
  std::vector<Source> sources_;
  Observer observer_;
};

}  // namespace irt
