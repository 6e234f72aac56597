// Scheduler::apply under any sequence of events, ill-behaved lanes and callers included: unknown
// calls, second terminals, partials out of order, wrong answers, lanes that vanish. After each
// event the invariants must hold, and in the end everything must come to rest.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "fuzz.h"
#include "sched/scheduler.h"
#include "support/monitor.h"

namespace irt::fuzz {
namespace {

class Bytes {
 public:
  Bytes(const std::uint8_t* data, std::size_t size) : data_(data), left_(size) {}
  [[nodiscard]] bool empty() const noexcept { return left_ == 0; }
  int byte() {
    if (left_ == 0) return 0;
    --left_;
    return *data_++;
  }
  int below(int bound) { return byte() % bound; }
  bool rarely() { return byte() >= 240; }

 private:
  const std::uint8_t* data_;
  std::size_t left_;
};

constexpr int kLanes = 6;

class Machine {
 public:
  explicit Machine(const SchedulerConfig& config) : scheduler_(config) {}

  void turn(Bytes& bytes) {
    now_ += bytes.below(8) == 0 ? bytes.byte() * 50 : bytes.below(20);
    switch (bytes.below(16)) {
      case 0: return lane_up(bytes);
      case 1: return lane_down(bytes);
      case 2:
      case 3: return submit(bytes);
      case 4:
      case 5: return step_closed(bytes);
      case 6: return verdict_known(bytes);
      case 7:
      case 8:
      case 9:
      case 10: return done(bytes);
      case 11: return send(CallFailed{pick(bytes), {ErrorCode::kBackendFailed, "it fails"}});
      case 12: return cancelled(bytes);
      case 13: return send(CancelRequest{request(bytes)});
      case 14: return consumed(bytes);
      default:
        scheduler_.set_draining(bytes.rarely());
        if (bytes.below(2) == 0) return send(Tick{});
        return send(ImageRoom{bytes.below(2) == 0, request(bytes)});
    }
  }

  // Everything is given up: it must end, and leave nothing behind.
  void close() {
    send(ImageRoom{});
    for (RequestId id = 0; id < next_; ++id) send(CancelRequest{id});
    while (!running_.empty()) send(CallCancelled{running_.back().call.key});
    for (RequestId id = 0; id < next_; ++id) {
      if (!gone_[id]) send(Consumed{id});
    }
    expect(Snapshot(scheduler_).idle(), "not idle after everything was cancelled");
    expect(monitor_.settled(), "a request did not end, or an image was not released");
    expect(Snapshot(scheduler_).requests.empty(), "a consumed request is still known");
    for (const RoleCounters& role : scheduler_.counters().role) {
      expect(role.speculated == role.speculation_used + role.speculation_wasted,
             "speculation that was neither used nor wasted");
    }
  }

 private:
  void send(Event event) {
    commands_.clear();
    const Event copy = event;
    const TimePoint wake = scheduler_.apply(std::move(event), now_, commands_);
    expect(wake > now_, "asks to be woken in the past");
    monitor_.follow(copy, commands_, Snapshot(scheduler_));
    for (const std::string& what : monitor_.violations()) expect(false, what);
    std::erase_if(running_, [this](const StartCall& start) {
      const bool ended = !monitor_.running().contains(start.call.key);
      if (ended) ended_.push_back(start);
      return ended;
    });
    take_commands();
    if (const auto* what = std::get_if<Consumed>(&copy)) {
      if (what->request < next_ && ended_request(what->request)) gone_[what->request] = true;
    }
  }

  void take_commands() {
    for (const Command& command : commands_) {
      if (const auto* start = std::get_if<StartCall>(&command)) running_.push_back(*start);
      if (const auto* refuse = std::get_if<Refuse>(&command)) gone_[refuse->request] = true;
    }
  }

  // Consumed counts only for a request that has ended: as the snapshot says.
  [[nodiscard]] bool ended_request(RequestId id) const {
    const Snapshot snapshot(scheduler_);
    return std::none_of(snapshot.requests.begin(), snapshot.requests.end(),
                        [id](const RequestView& view) { return view.request == id; });
  }

  // Mostly a call under way; now and then one that has ended, or that never was.
  const StartCall* running(Bytes& bytes) {
    const int which = bytes.byte();
    if (which >= 248 && !ended_.empty()) {
      return &ended_[static_cast<std::size_t>(which) % ended_.size()];
    }
    if (which >= 244 || running_.empty()) return nullptr;
    return &running_[static_cast<std::size_t>(which) % running_.size()];
  }
  Key pick(Bytes& bytes) {
    const StartCall* start = running(bytes);
    return start == nullptr ? Key{7, 7} : start->call.key;
  }
  RequestId request(Bytes& bytes) {
    return static_cast<RequestId>(bytes.below(static_cast<int>(next_) + 1));
  }

  void lane_up(Bytes& bytes) {
    const int id = bytes.below(kLanes);
    LaneUp up;
    up.lane.id = static_cast<LaneId>(id);
    up.lane.role = static_cast<Role>(bytes.rarely() ? bytes.below(kRoles) : id % kRoles);
    up.lane.capacity = bytes.rarely() ? 0 : 1 + bytes.below(4);
    up.lane.device = "device " + std::to_string(bytes.below(3));
    up.lane.name = "lane " + std::to_string(id);
    try {
      send(std::move(up));
    } catch (const Error& error) {
      expect(error.code() == ErrorCode::kInternal, error.what());
    }
  }
  void lane_down(Bytes& bytes) {
    const int id = bytes.below(2 * kLanes);  // half of them are not up: no run lasts long otherwise
    send(LaneDown{static_cast<LaneId>(id), {ErrorCode::kBackendFailed, "it dies"}});
  }

  void submit(Bytes& bytes) {
    if (next_ == kRequests) return send(Tick{});
    Submit event;
    RequestSpec& spec = event.spec;
    spec.text = bytes.rarely() ? "" : "text";
    spec.seed = static_cast<std::uint64_t>(bytes.byte());
    spec.t_max = bytes.rarely() ? bytes.below(13) : 1 + bytes.below(3);
    spec.max_steps = bytes.rarely() ? bytes.below(28) : 25;
    spec.keep = static_cast<Keep>(bytes.below(2));
    spec.judge_last = bytes.below(3) == 0;
    const int flags = bytes.byte();
    spec.optimizations = {(flags & 1) == 0, (flags & 2) == 0, (flags & 4) == 0, (flags & 8) == 0,
                          (flags & 16) == 0};
    spec.speculation = {static_cast<SpeculationMode>(bytes.below(3)), 1 + bytes.below(3)};
    if (bytes.rarely()) spec.speculation.depth = bytes.byte() - 100;
    for (int images = bytes.below(4) == 0 ? bytes.below(3) : 0; images > 0; --images) {
      spec.images.push_back(Key{next_ + 1, static_cast<std::uint64_t>(bytes.below(3))});
    }
    const bool guidance = bytes.rarely() ? bytes.below(2) == 0 : !spec.images.empty();
    spec.mode = guidance ? PlanMode::kGuidance : PlanMode::kNarrative;
    if (bytes.below(6) == 0) spec.deadline = now_ + bytes.byte() * 40 - 100;
    const RequestId twice = request(bytes);
    if (bytes.rarely() && twice < next_ && !gone_[twice]) return submit_again(twice, event);
    event.request = next_++;
    send(std::move(event));
  }
  // An id in use: the request that has it must not notice.
  void submit_again(RequestId id, Submit& event) {
    event.request = id;
    event.spec.images.clear();
    commands_.clear();
    (void)scheduler_.apply(std::move(event), now_, commands_);
    const auto refused = std::find_if(
        commands_.begin(), commands_.end(),
        [](const Command& command) { return std::holds_alternative<Refuse>(command); });
    expect(refused != commands_.end(), "an id in use is accepted again");
    commands_.erase(refused);
    monitor_.follow(Tick{}, commands_);  // time may have passed for the others
    take_commands();
  }

  static PlanStep step(int index, bool other) {
    PlanStep out;
    out.step_number = index + 1;
    out.step_name = other ? "other" : "step";
    if (index % 4 == 3) {
      out.auxiliary_text = "text";
    } else {
      out.prompt = std::string("p").append(std::to_string(index));
    }
    return out;
  }
  void step_closed(Bytes& bytes) {
    const Key call = pick(bytes);
    int& next = closed_[call.lo % closed_.size()];
    const int index = bytes.rarely() ? bytes.below(30) - 2 : next++ % 8;
    send(StepClosed{call, index, step(index, bytes.rarely())});
  }
  void verdict_known(Bytes& bytes) {
    const Key call = pick(bytes);
    const bool accepted = (call.lo & 3) != 0;
    send(VerdictKnown{call, bytes.rarely() ? !accepted : accepted, score(call)});
  }
  static double score(const Key& call) { return static_cast<double>(call.hi % 4) / 4.0; }

  void done(Bytes& bytes) {
    const StartCall* start = running(bytes);
    const Key key = start == nullptr ? Key{7, 7} : start->call.key;
    Role role = start == nullptr ? Role::kPlanner : start->call.role;
    if (bytes.rarely()) role = static_cast<Role>(bytes.below(3));
    const bool odd = bytes.rarely();
    if (role == Role::kPlanner) {
      Plan plan;
      const int steps = odd ? bytes.below(30) : 8;
      for (int i = 0; i < steps; ++i) plan.steps.push_back(step(i, odd && bytes.rarely()));
      plan.truncated = plan.violated = odd;
      return send(CallDone{key, std::move(plan)});
    }
    if (role == Role::kGenerator) {
      // A wrong image has a key that nobody else has: the store knows one image by one key.
      return send(CallDone{key, Image{odd ? Key{9, ++strange_} : key, key.lo}});
    }
    Verdict verdict;
    verdict.readable = !odd;
    verdict.accepted = (key.lo & 3) != 0;
    if (odd && bytes.rarely()) verdict.readable = verdict.accepted = !verdict.accepted;
    verdict.p_success = score(key);
    if (bytes.below(3) != 0) verdict.refined = "refined";
    send(CallDone{key, std::move(verdict)});
  }

  // A lane may also cancel what nobody asked it to.
  void cancelled(Bytes& bytes) { send(CallCancelled{pick(bytes)}); }

  void consumed(Bytes& bytes) { send(Consumed{request(bytes)}); }

  static constexpr RequestId kRequests = 24;
  Scheduler scheduler_;
  test::Monitor monitor_;
  TimePoint now_ = 0;
  RequestId next_ = 0;
  std::uint64_t strange_ = 0;
  std::array<bool, kRequests> gone_{};  // refused or consumed
  std::array<int, 64> closed_{};        // plan steps reported, by call
  std::vector<StartCall> running_;
  std::vector<StartCall> ended_;
  std::vector<Command> commands_;
};

// The first bytes of every input: limits of the scheduler.
SchedulerConfig config_of(Bytes& bytes) {
  SchedulerConfig config;
  config.max_live = 1 + bytes.below(6);
  config.max_queued = bytes.below(6);
  config.lane_grace = bytes.byte() * 20;
  config.policy.min_samples = 1;
  return config;
}

}  // namespace

std::vector<std::string> seeds() {
  std::vector<std::string> out;
  for (int kind = 0; kind < 24; ++kind) {
    std::string input = {'\5', '\5', '\100'};
    const auto event = [&input](int what, std::vector<int> rest) {
      input += {'\1', '\1', static_cast<char>(what)};
      for (const int byte : rest) input += static_cast<char>(byte);
    };
    for (int id = 0; id < kLanes; ++id) event(0, {id, 0, 0, kind % 4, id});
    const int requests = 1 + kind % 5;
    for (int r = 0; r < requests; ++r) {
      event(2,
            {0, r, 0, kind + r, 0, kind % 2, r % 3, kind * 11 + r, kind + r, r, 0, 1, 0, 1, 0, 0});
    }
    for (int turn = 0; turn < 60; ++turn) {
      event(4 + (turn * (kind + 3) + turn / 7) % 7, {turn * 5 + kind, 0, 0, turn % 3});
    }
    out.push_back(std::move(input));
  }
  return out;
}

std::size_t max_size() { return 2048; }

}  // namespace irt::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  irt::fuzz::Bytes bytes(data, std::min(size, irt::fuzz::max_size()));
  irt::fuzz::Machine machine(irt::fuzz::config_of(bytes));
  while (!bytes.empty()) machine.turn(bytes);
  machine.close();
  return 0;
}
