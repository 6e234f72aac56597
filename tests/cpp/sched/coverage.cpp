#include "coverage.h"

#include <algorithm>

namespace irt::test {
namespace {

constexpr const char* kStates[] = {"unknown",   "queued",     "waiting", "planning",
                                   "streaming", "generating", "judging", "speculating",
                                   "refining",  "confirmed",  "ended"};
constexpr const char* kEvents[] = {"Submit", "Step",    "True",     "False",     "Plan",
                                   "Image",  "Verdict", "Failed",   "Cancelled", "LaneDown",
                                   "LaneUp", "Cancel",  "Deadline", "NoLane",    "Consumed"};
constexpr const char* kCallStateNames[] = {"certain", "ahead", "promoted", "cancelling",
                                           "cancelled+wanted"};
constexpr const char* kCallEventNames[] = {"partial", "Done", "Failed", "Cancelled", "LaneDown"};

bool alive(RequestState state) {
  return state != RequestState::kUnknown && state != RequestState::kQueued &&
         state != RequestState::kEnded;
}

// Why the pair cannot occur with lanes and readers that keep their contract; null: it can. (Ones
// that do not are the fuzz target's: tests/cpp/fuzz/fuzz_apply.cpp.)
const char* why_not(RequestState state, RequestEvent event) {
  using State = RequestState;
  using Event = RequestEvent;
  const bool of_call = event >= Event::kStepClosed && event <= Event::kLaneDied;
  if (event == Event::kSubmit && state != State::kUnknown) return "an id is used once";
  if (event == Event::kConsumed && state != State::kEnded)
    return "a reader has consumed only what has ended";
  if (state == State::kQueued && of_call) return "a queued request has no calls";
  if (state == State::kEnded && (event == Event::kDeadline || event == Event::kGraceOver)) {
    return "a request ends once";
  }
  const bool of_images = event == Event::kVerdictTrue || event == Event::kVerdictFalse ||
                         event == Event::kImageDone || event == Event::kVerdictDone;
  if (state == State::kPlanning && (of_images || event == Event::kCallCancelled)) {
    return "nothing but the plan runs, and the plan is wanted";
  }
  const bool plans = event == Event::kStepClosed || event == Event::kPlanDone;
  if (state == State::kWaiting && plans)
    return "a plan that is written is a certain call that runs";
  if (alive(state) && state != State::kPlanning && state != State::kStreaming && plans) {
    return "while a plan is written the request is planning or streaming";
  }
  return nullptr;
}

const char* why_not(Role role, CallState state, CallEvent event) {
  const bool cancelled = state == CallState::kCancelling || state == CallState::kCancelledWanted;
  if (role == Role::kGenerator && event == CallEvent::kPartial) return "images are not streamed";
  if (role == Role::kPlanner && (state == CallState::kAhead || state == CallState::kPromoted)) {
    return "a plan lies beyond no verdict";
  }
  if (role == Role::kPlanner && state == CallState::kCancelledWanted) {
    return "only calls that were started ahead are cancelled while they are wanted";
  }
  if (event == CallEvent::kCancelled && !cancelled) return "a lane cancels what it is asked to";
  return nullptr;
}

std::string name_of(RequestState state, RequestEvent event) {
  return std::string("request ") + kStates[static_cast<std::size_t>(state)] + " x " +
         kEvents[static_cast<std::size_t>(event)];
}

std::string name_of(Role role, CallState state, CallEvent event) {
  return std::string(call_name(role)) + " call " +
         kCallStateNames[static_cast<std::size_t>(state)] + " x " +
         kCallEventNames[static_cast<std::size_t>(event)];
}

}  // namespace

void Coverage::add(const Coverage& other) {
  for (std::size_t s = 0; s < requests_.size(); ++s) {
    for (std::size_t e = 0; e < requests_[s].size(); ++e) requests_[s][e] += other.requests_[s][e];
  }
  for (std::size_t r = 0; r < calls_.size(); ++r) {
    for (std::size_t s = 0; s < calls_[r].size(); ++s) {
      for (std::size_t e = 0; e < calls_[r][s].size(); ++e) {
        calls_[r][s][e] += other.calls_[r][s][e];
      }
    }
  }
}

void Coverage::print(std::FILE* out) const {
  const auto cell = [out](std::uint64_t seen, const char* reason) {
    if (seen > 0) {
      std::fprintf(out, " %9llu%s", static_cast<unsigned long long>(seen), reason ? "!" : "");
    } else {
      std::fprintf(out, " %9s", reason ? "-" : "?");
    }
  };
  std::fprintf(out, "requests: state x event (- cannot occur)\n%-12s", "");
  for (const char* event : kEvents) std::fprintf(out, " %9s", event);
  for (std::size_t s = 0; s < requests_.size(); ++s) {
    std::fprintf(out, "\n%-12s", kStates[s]);
    for (std::size_t e = 0; e < requests_[s].size(); ++e) {
      cell(requests_[s][e], why_not(static_cast<RequestState>(s), static_cast<RequestEvent>(e)));
    }
  }
  std::fprintf(out, "\ncalls: state x event\n%-26s", "");
  for (const char* event : kCallEventNames) std::fprintf(out, " %9s", event);
  for (std::size_t r = 0; r < calls_.size(); ++r) {
    for (std::size_t s = 0; s < calls_[r].size(); ++s) {
      std::fprintf(out, "\n%-9s%-17s", kCallNames[r], kCallStateNames[s]);
      for (std::size_t e = 0; e < calls_[r][s].size(); ++e) {
        cell(calls_[r][s][e],
             why_not(static_cast<Role>(r), static_cast<CallState>(s), static_cast<CallEvent>(e)));
      }
    }
  }
  std::fprintf(out, "\n");
}

std::vector<std::string> Coverage::gaps() const {
  std::vector<std::string> out;
  for (std::size_t s = 0; s < requests_.size(); ++s) {
    for (std::size_t e = 0; e < requests_[s].size(); ++e) {
      const auto state = static_cast<RequestState>(s);
      const auto event = static_cast<RequestEvent>(e);
      if (requests_[s][e] == 0 && !why_not(state, event)) out.push_back(name_of(state, event));
    }
  }
  for (std::size_t r = 0; r < calls_.size(); ++r) {
    for (std::size_t s = 0; s < calls_[r].size(); ++s) {
      for (std::size_t e = 0; e < calls_[r][s].size(); ++e) {
        const auto role = static_cast<Role>(r);
        const auto state = static_cast<CallState>(s);
        const auto event = static_cast<CallEvent>(e);
        if (calls_[r][s][e] == 0 && !why_not(role, state, event)) {
          out.push_back(name_of(role, state, event));
        }
      }
    }
  }
  return out;
}

void Coverage::Tracker::count(RequestId request, RequestEvent event) {
  const RequestState state = states_[request];
  ++coverage_.requests_[static_cast<std::size_t>(state)][static_cast<std::size_t>(event)];
  if (const char* reason = why_not(state, event)) {
    impossible_ = name_of(state, event) + " has occurred, though " + reason;
  }
}

void Coverage::Tracker::count_call(const Key& call, CallEvent event) {
  const auto found = running_.find(call);
  if (found == running_.end()) return;
  const Running& run = found->second;
  ++coverage_.calls_[index_of(run.role)][static_cast<std::size_t>(run.state)]
                    [static_cast<std::size_t>(event)];
  if (const char* reason = why_not(run.role, run.state, event)) {
    impossible_ = name_of(run.role, run.state, event) + " has occurred, though " + reason;
  }
}

void Coverage::Tracker::count_event(const Event& event) {
  const auto of_call = [this](const Key& call, RequestEvent what, CallEvent call_event) {
    count_call(call, call_event);
    const auto run = running_.find(call);
    if (run != running_.end()) count(run->second.request, what);
  };
  if (const auto* submit = std::get_if<Submit>(&event)) {
    count(submit->request, RequestEvent::kSubmit);
  } else if (const auto* closed = std::get_if<StepClosed>(&event)) {
    of_call(closed->call, RequestEvent::kStepClosed, CallEvent::kPartial);
  } else if (const auto* known = std::get_if<VerdictKnown>(&event)) {
    of_call(known->call, known->accepted ? RequestEvent::kVerdictTrue : RequestEvent::kVerdictFalse,
            CallEvent::kPartial);
    known_[known->call] = known->accepted;
  } else if (const auto* done = std::get_if<CallDone>(&event)) {
    constexpr RequestEvent kKinds[] = {RequestEvent::kPlanDone, RequestEvent::kImageDone,
                                       RequestEvent::kVerdictDone};
    of_call(done->call, kKinds[done->result.index()], CallEvent::kDone);
  } else if (const auto* failed = std::get_if<CallFailed>(&event)) {
    of_call(failed->call, RequestEvent::kCallFailed, CallEvent::kFailed);
  } else if (const auto* cancelled = std::get_if<CallCancelled>(&event)) {
    of_call(cancelled->call, RequestEvent::kCallCancelled, CallEvent::kCancelled);
  } else if (const auto* down = std::get_if<LaneDown>(&event)) {
    std::unordered_set<RequestId> hit;
    for (const auto& [key, run] : running_) {
      if (run.lane != down->lane) continue;
      count_call(key, CallEvent::kLaneDied);
      if (hit.insert(run.request).second) count(run.request, RequestEvent::kLaneDied);
    }
  } else if (std::holds_alternative<LaneUp>(event)) {
    for (RequestId id = 0; id < states_.size(); ++id) count(id, RequestEvent::kLaneUp);
  } else if (const auto* cancel = std::get_if<CancelRequest>(&event)) {
    count(cancel->request, RequestEvent::kCancelRequest);
  } else if (const auto* consumed = std::get_if<Consumed>(&event)) {
    count(consumed->request, RequestEvent::kConsumed);
  }
}

std::string Coverage::Tracker::follow(const Event& event, const std::vector<Command>& commands,
                                      const Snapshot& snapshot) {
  count_event(event);
  for (const Command& command : commands) {
    if (const auto* start = std::get_if<StartCall>(&command)) {
      if (start->speculative) {
        ahead_.insert(start->call.key);
      } else {
        ahead_.erase(start->call.key);
      }
    } else if (const auto* told = std::get_if<Deliver>(&command)) {
      const auto* end = std::get_if<RequestEnded>(&told->notice);
      if (end == nullptr) continue;
      const bool lanes = end->failure && end->failure->message.find("[Scheduler.lanes] no ") == 0;
      if (end->outcome == Outcome::kDeadline) count(told->request, RequestEvent::kDeadline);
      if (lanes) count(told->request, RequestEvent::kGraceOver);
    }
  }
  running_.clear();
  runs_.clear();
  speculates_.clear();
  std::unordered_set<Key> wanted;
  for (const RequestView& view : snapshot.requests) {
    for (const PendingView& want : view.pending_calls) {
      if (want.running) wanted.insert(want.key);
    }
  }
  for (const LaneView& lane : snapshot.lanes) {
    for (const RunningView& run : lane.running) {
      ++runs_[run.request];
      if (run.speculative && !run.cancelling) speculates_.insert(run.request);
      const CallState state =
          run.cancelling
              ? (wanted.contains(run.key) ? CallState::kCancelledWanted : CallState::kCancelling)
          : run.speculative          ? CallState::kAhead
          : ahead_.contains(run.key) ? CallState::kPromoted
                                     : CallState::kCertain;
      running_.emplace(run.key, Running{run.request, lane.info.id, run.role, state});
    }
  }
  std::fill(states_.begin(), states_.end(), RequestState::kUnknown);
  for (const RequestView& view : snapshot.requests) states_[view.request] = state_of(view);
  return impossible_;
}

RequestState Coverage::Tracker::state_of(const RequestView& view) const {
  if (view.phase == RequestPhase::kQueued) return RequestState::kQueued;
  if (view.phase == RequestPhase::kEnded) return RequestState::kEnded;
  const PendingView* judge = nullptr;
  bool plan = false;
  bool runs = false;
  for (const PendingView& want : view.pending_calls) {
    if (!want.certain) continue;
    runs = runs || want.running;
    plan = plan || want.role == Role::kPlanner;
    if (want.role == Role::kCritic && judge == nullptr) judge = &want;
  }
  if (!runs) return RequestState::kWaiting;
  if (plan) {
    // A call that was given up long ago may still be on a slow lane.
    const bool alone = view.pending_calls.size() == 1 && runs_.at(view.request) == 1;
    return alone ? RequestState::kPlanning : RequestState::kStreaming;
  }
  if (judge == nullptr) return RequestState::kGenerating;
  const auto known = known_.find(judge->key);
  if (specs_[view.request].optimizations.early_verdict && known != known_.end()) {
    return known->second ? RequestState::kConfirmed : RequestState::kRefining;
  }
  return speculates_.contains(view.request) ? RequestState::kSpeculating : RequestState::kJudging;
}

}  // namespace irt::test
