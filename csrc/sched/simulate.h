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
// call has its device to itself.
struct SimAnswer {
  std::variant<CallResult, Failure> end;
  TimePoint work = 1;
  std::vector<TimePoint> steps_closed;     // plan: when step k closes; missing = not streamed
  std::optional<TimePoint> verdict_known;  // judge: when the boolean is known; none = not streamed
};
using SimModel = std::function<SimAnswer(const StartCall&)>;

struct SimLane {
  LaneInfo info;
  TimePoint cancel_delay = 0;  // a call that ends sooner answers CallDone all the same
};

struct SimConfig {
  SchedulerConfig scheduler;
  std::uint64_t seed = 0;  // orders simultaneous events
  // Rate of a role while another role is active on its device.
  std::array<double, kRoles> rate_beside = {1.0, 1.0, 1.0};
  TimePoint reader_delay = 0;  // from RequestEnded to Consumed
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
  [[nodiscard]] const std::map<RequestId, SimRequest>& requests() const noexcept {
    return requests_;
  }
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
    std::string device;
    double done = 0.0;
    std::size_t next = 0;  // milestone
    std::vector<Milestone> milestones;
    TimePoint cancel_at = kNever;
  };

  [[nodiscard]] double rate(const Active& active) const;
  [[nodiscard]] TimePoint due(const Active& active) const;  // of its next milestone
  void advance(TimePoint to);
  [[nodiscard]] bool take_next(Event& event);
  void apply(const Event& event);
  void start(const StartCall& start);
  void carry_out(const Command& command);

  SimConfig config_;
  SimModel model_;
  Scheduler scheduler_;
  std::mt19937_64 random_;
  TimePoint now_ = 0;
  TimePoint wake_ = kNever;
  std::multimap<TimePoint, Event> timeline_;
  std::map<LaneId, SimLane> lanes_;
  std::vector<Active> active_;
  std::map<RequestId, SimRequest> requests_;
  std::vector<Command> commands_;
  Observer observer_;
};

}  // namespace irt
