#include "coverage.h"

#include <algorithm>
#include <span>

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

std::size_t row_of(RequestState state) { return static_cast<std::size_t>(state); }
std::size_t row_of(Role role, CallState state) {
  return Coverage::kRequestStates + index_of(role) * Coverage::kCallStates +
         static_cast<std::size_t>(state);
}

bool of_request(std::size_t row) { return row < Coverage::kRequestStates; }

std::span<const char* const> events_of(std::size_t row) {
  return of_request(row) ? std::span<const char* const>(kEvents)
                         : std::span<const char* const>(kCallEventNames);
}

std::string name_of(std::size_t row) {
  if (of_request(row)) return kStates[row];
  row -= Coverage::kRequestStates;
  return std::string(kCallNames[row / Coverage::kCallStates]) + " call " +
         kCallStateNames[row % Coverage::kCallStates];
}

const char* why_not(std::size_t row, std::size_t column) {
  if (of_request(row)) {
    return why_not(static_cast<RequestState>(row), static_cast<RequestEvent>(column));
  }
  row -= Coverage::kRequestStates;
  return why_not(static_cast<Role>(row / Coverage::kCallStates),
                 static_cast<CallState>(row % Coverage::kCallStates),
                 static_cast<CallEvent>(column));
}

std::string name_of(std::size_t row, std::size_t column) {
  return (of_request(row) ? "request " : "") + name_of(row) + " x " + events_of(row)[column];
}

}  // namespace

void Coverage::add(const Coverage& other) {
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < kColumns; ++c) seen_[r][c] += other.seen_[r][c];
  }
}

void Coverage::print(std::FILE* out) const {
  for (std::size_t r = 0; r < kRows; ++r) {
    if (r == 0 || r == kRequestStates) {
      std::fprintf(out, "%s: state x event (- cannot occur)\n%-31s", r == 0 ? "requests" : "calls",
                   "");
      for (const char* event : events_of(r)) std::fprintf(out, " %9s", event);
      std::fprintf(out, "\n");
    }
    std::fprintf(out, "%-31s", name_of(r).c_str());
    for (std::size_t c = 0; c < events_of(r).size(); ++c) {
      if (seen_[r][c] > 0) {
        std::fprintf(out, " %9llu", static_cast<unsigned long long>(seen_[r][c]));
      } else {
        std::fprintf(out, " %9s", why_not(r, c) ? "-" : "?");
      }
    }
    std::fprintf(out, "\n");
  }
}

std::vector<std::string> Coverage::gaps() const {
  std::vector<std::string> out;
  for (std::size_t r = 0; r < kRows; ++r) {
    for (std::size_t c = 0; c < events_of(r).size(); ++c) {
      if (seen_[r][c] == 0 && !why_not(r, c)) out.push_back(name_of(r, c));
    }
  }
  return out;
}

void Coverage::Tracker::count(std::size_t row, std::size_t column) {
  ++coverage_.seen_[row][column];
  if (const char* reason = why_not(row, column)) {
    impossible_ = name_of(row, column) + " has occurred, though " + reason;
  }
}

void Coverage::Tracker::count(RequestId request, RequestEvent event) {
  count(row_of(states_[request]), static_cast<std::size_t>(event));
}

void Coverage::Tracker::count_call(const Key& call, CallEvent event) {
  const auto found = running_.find(call);
  if (found == running_.end()) return;
  count(row_of(found->second.role, found->second.state), static_cast<std::size_t>(event));
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
