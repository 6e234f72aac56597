#include "sim/workload.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>
#include <utility>

namespace irt {
namespace {

constexpr std::size_t kNone = SIZE_MAX;

TimePoint whole(double work) { return std::max<TimePoint>(1, std::llround(work)); }

void require(bool holds, const std::string& what) {
  if (!holds) throw Error(ErrorCode::kBadRequest, "[simulate_load] " + what);
}

void check(const LoadConfig& config, const std::vector<SimTask>& tasks) {
  require(!tasks.empty(), "there is no task: give at least one");
  require(config.concurrency >= 0, "concurrency is negative: give requests under way, or 0");
  require(config.concurrency > 0 || config.arrivals.size() == tasks.size(),
          "concurrency is 0, so every task needs an arrival");
  const auto speed = [](double value) { return value > 0.0 && std::isfinite(value); };
  for (const auto& [machine, rates] : config.sim.rates) {
    for (const auto& by_role : rates) {
      require(std::all_of(by_role.begin(), by_role.end(), speed), "a rate is a number above 0");
    }
  }
  for (const SimLane& lane : config.lanes) {
    require(lane.info.capacity >= 1, "a lane has room for one call at least");
    require(std::all_of(lane.batching.begin(), lane.batching.end(), speed) &&
                std::is_sorted(lane.batching.begin(), lane.batching.end()),
            "a batching curve is made of numbers above 0 that do not fall");
  }
  for (const SimTask& task : tasks) {
    require(!task.steps.empty() && task.steps.size() <= kMaxSteps, "a task has 1 to 25 steps");
    require(task.t_max >= 1 && task.t_max <= kMaxAttempts, "t_max is from 1 to 10");
    require(task.plan >= 0.0 && std::isfinite(task.plan), "work is a number from 0 on");
    for (const double at : task.closes) {
      require(at >= 0.0 && std::isfinite(at), "a step of a plan closes at a number from 0 on");
    }
    for (const auto& step : task.steps) {
      for (const SimAttempt& attempt : step) {
        const bool sound = attempt.generate >= 0.0 && attempt.verdict >= 0.0 &&
                           attempt.judge >= attempt.verdict && std::isfinite(attempt.generate) &&
                           std::isfinite(attempt.judge);
        require(sound, "work is a number from 0 on, and no verdict comes after its answer's end");
      }
    }
  }
}

class Load {
 public:
  Load(const LoadConfig& config, const std::vector<SimTask>& tasks)
      : config_(config),
        tasks_(tasks),
        simulator_(config.sim, [this](const StartCall& start) { return answer(start); }) {
    for (std::size_t t = 0; t < tasks.size(); ++t) {
      for (std::size_t s = 0; s < tasks[t].steps.size(); ++s) {
        for (const SimAttempt& attempt : tasks[t].steps[s]) pool_[s > 0].push_back(&attempt);
      }
    }
    for (auto& pool : pool_) {
      if (pool.empty()) pool = pool_[&pool == pool_.data() ? 1 : 0];
    }
  }

  LoadReport run() {
    report_.requests.resize(tasks_.size());
    simulator_.observe([this](const Event& event, const std::vector<Command>& commands,
                              const Scheduler&) { watch(event, commands); });
    for (const SimLane& lane : config_.lanes) simulator_.add_lane(lane);
    if (config_.concurrency == 0) {
      for (std::size_t t = 0; t < tasks_.size(); ++t) submit(config_.arrivals[t]);
    } else {
      const auto first = std::min(tasks_.size(), static_cast<std::size_t>(config_.concurrency));
      for (std::size_t t = 0; t < first; ++t) submit(0);
    }
    report_.complete = simulator_.run(config_.max_events);
    report_.ended = last_end_;
    report_.events = simulator_.events();
    report_.counters = simulator_.scheduler().counters();
    return std::move(report_);
  }

 private:
  // An image that was, or is being, made.
  struct Made {
    int step = 0;
    int attempt = 0;
    bool on_path = false;
  };

  static std::size_t task_of(RequestId request) { return static_cast<std::size_t>(request) - 1; }
  static const SimAttempt& at(const std::vector<SimAttempt>& step, int attempt) {
    return step[std::min(step.size(), static_cast<std::size_t>(attempt)) - 1];
  }

  void submit(TimePoint when) {
    const std::size_t task = submitted_++;
    Submit event;
    event.request = task + 1;
    event.spec.text = std::string("task ").append(std::to_string(task));
    event.spec.seed = task;
    event.spec.t_max = tasks_[task].t_max;
    event.spec.judge_last = config_.judge_last;
    event.spec.speculation = config_.speculation;
    event.spec.optimizations = config_.optimizations;
    simulator_.at(when, std::move(event));
  }

  // ---- answers
  SimAnswer answer(const StartCall& start) {
    const Call& call = start.call;
    const SimTask& task = tasks_[task_of(call.request)];
    switch (call.role) {
      case Role::kPlanner: return plan(task);
      case Role::kGenerator: return generate(task, call);
      case Role::kCritic: return judge(task, call);
    }
    return {};
  }

  SimAnswer plan(const SimTask& task) {
    Plan made;
    SimAnswer out;
    for (std::size_t i = 0; i < task.steps.size(); ++i) {
      PlanStep& step = made.steps.emplace_back();
      step.step_number = static_cast<int>(i) + 1;
      step.step_name.assign(1, 's');
      if (!task.steps[i].empty()) step.prompt = std::string("p").append(std::to_string(i));
      if (i < task.closes.size()) out.steps_closed.push_back(whole(task.closes[i]));
    }
    out.end = CallResult{std::move(made)};
    out.work = whole(task.plan);
    return out;
  }

  // The attempt that the committed path ends a step with.
  static int final_attempt(const SimTask& task, int step) {
    const auto& tries = task.steps[static_cast<std::size_t>(step)];
    for (int t = 1; t < task.t_max; ++t) {
      if (at(tries, t).says != SimVerdict::kRefused) return t;
    }
    return task.t_max;
  }

  // The answer of a call beside the path: some attempt of the same kind.
  const SimAttempt& stranger(const Call& call) const {
    const auto& pool = pool_[call.step > 0 ? 1 : 0];
    return *pool[mix64(call.key.lo ^ config_.sim.seed) % pool.size()];
  }

  SimAnswer generate(const SimTask& task, const Call& call) {
    bool on_path = true;
    if (call.source) {
      const auto source = images_.find(call.source);
      on_path = source != images_.end() && source->second.on_path &&
                source->second.attempt == final_attempt(task, source->second.step);
    }
    images_[call.key] = {call.step, call.attempt, on_path};
    if (on_path) made_[task_of(call.request)].push_back(call.key);
    const auto& step = task.steps[static_cast<std::size_t>(call.step)];
    const SimAttempt& attempt = on_path ? at(step, call.attempt) : stranger(call);
    SimAnswer out;
    out.end = CallResult{Image{call.key, call.key.lo}};
    out.work = whole(attempt.generate);
    out.cancel_parts = config_.cancel_parts;
    return out;
  }

  SimAnswer judge(const SimTask& task, const Call& call) {
    const auto image = images_.find(call.image);
    const bool on_path = image != images_.end() && image->second.on_path;
    const auto& step = task.steps[static_cast<std::size_t>(call.step)];
    const SimAttempt& attempt = on_path ? at(step, call.attempt) : stranger(call);
    Verdict verdict;
    verdict.readable = attempt.says != SimVerdict::kUnreadable;
    verdict.accepted = attempt.says == SimVerdict::kAccepted;
    verdict.p_success = verdict.accepted ? 0.9 : 0.1;
    if (verdict.readable && !verdict.accepted) {
      verdict.refined = call.original + "." + std::to_string(call.attempt + 1);
    }
    SimAnswer out;
    out.end = CallResult{std::move(verdict)};
    out.work = whole(attempt.judge);
    out.verdict_known = whole(attempt.verdict);
    return out;
  }

  // ---- what happened
  void watch(const Event& event, const std::vector<Command>& commands) {
    const TimePoint now = simulator_.now();
    if (const auto* known = std::get_if<VerdictKnown>(&event)) {
      if (LoadCall* call = open(known->call)) call->verdict = now;
    } else if (const auto* done = std::get_if<CallDone>(&event)) {
      close(done->call, now, false);
    } else if (const auto* failed = std::get_if<CallFailed>(&event)) {
      close(failed->call, now, true);
    } else if (const auto* cancelled = std::get_if<CallCancelled>(&event)) {
      close(cancelled->call, now, true);
    } else if (const auto* came = std::get_if<Submit>(&event)) {
      report_.requests[task_of(came->request)].submitted = now;
    }
    for (const Command& command : commands) follow(command, now);
  }

  void follow(const Command& command, TimePoint now) {
    if (const auto* start = std::get_if<StartCall>(&command)) {
      begin(*start, now);
    } else if (const auto* cancel = std::get_if<CancelCall>(&command)) {
      if (LoadCall* call = open(cancel->call)) call->cancel = now;
    } else if (const auto* deliver = std::get_if<Deliver>(&command)) {
      take(deliver->request, deliver->notice, now);
    } else if (const auto* refuse = std::get_if<Refuse>(&command)) {
      LoadRequest& request = report_.requests[task_of(refuse->request)];
      request.refused = true;
      request.ended = now;
      leave(refuse->request, now);
    }
  }

  void take(RequestId id, const Notice& notice, TimePoint now) {
    LoadRequest& request = report_.requests[task_of(id)];
    if (const auto* step = std::get_if<StepCommitted>(&notice)) {
      ++request.steps;
      request.attempts += static_cast<int>(step->result.attempts.size());
      if (step->result.image) request.images.push_back(now);
      for (const Attempt& attempt : step->result.attempts) use(attempt.image.key);
    } else if (std::holds_alternative<RequestEnded>(notice)) {
      request.ended = now + config_.sim.reader_delay;
      leave(id, request.ended);
    }
  }

  void leave(RequestId request, TimePoint ended) {
    last_end_ = std::max(last_end_, ended);
    simulator_.forget(request);
    for (const Key& image : made_[task_of(request)]) images_.erase(image);
    made_.erase(task_of(request));
    if (config_.concurrency > 0 && submitted_ < tasks_.size()) {
      submit(ended + config_.submit_delay);
    }
  }

  void begin(const StartCall& start, TimePoint now) {
    LoadCall call;
    call.task = static_cast<std::uint32_t>(task_of(start.call.request));
    call.role = start.call.role;
    call.step = start.call.step;
    call.attempt = start.call.attempt;
    call.speculative = start.speculative;
    call.started = call.ended = now;
    const auto role = index_of(call.role);
    if (active_[role]++ == 0) since_[role] = now;
    open_[start.call.key] = report_.calls.size();
    if (start.call.role == Role::kCritic) {
      judged_[start.call.image].push_back(report_.calls.size());
    }
    report_.calls.push_back(call);
  }

  LoadCall* open(const Key& key) {
    const auto found = open_.find(key);
    return found == open_.end() ? nullptr : &report_.calls[found->second];
  }

  void close(const Key& key, TimePoint now, bool cancelled) {
    const auto found = open_.find(key);
    if (found == open_.end()) return;
    LoadCall& call = report_.calls[found->second];
    call.ended = now;
    call.cancelled = cancelled;
    call.used = call.role == Role::kPlanner && !cancelled;
    const auto role = index_of(call.role);
    if (--active_[role] == 0) report_.busy[role] += now - since_[role];
    if (call.role == Role::kGenerator && !cancelled) done_[key] = found->second;
    open_.erase(found);
  }

  // The program has consumed the image and what was said of it.
  void use(const Key& image) {
    if (const auto made = done_.find(image); made != done_.end()) {
      report_.calls[made->second].used = true;
      done_.erase(made);
    }
    if (const auto judged = judged_.find(image); judged != judged_.end()) {
      for (const std::size_t call : judged->second) {
        report_.calls[call].used = !report_.calls[call].cancelled;
      }
      judged_.erase(judged);
    }
  }

  const LoadConfig& config_;
  const std::vector<SimTask>& tasks_;
  std::array<std::vector<const SimAttempt*>, 2> pool_;  // of first and of later steps
  Simulator simulator_;
  LoadReport report_;
  std::size_t submitted_ = 0;
  TimePoint last_end_ = 0;
  std::array<int, kRoles> active_{};
  std::array<TimePoint, kRoles> since_{};
  std::unordered_map<Key, Made> images_;
  std::unordered_map<std::size_t, std::vector<Key>> made_;  // by task, on the path
  std::unordered_map<Key, std::size_t> open_;               // calls under way
  std::unordered_map<Key, std::size_t> done_;               // generate calls
  std::unordered_map<Key, std::vector<std::size_t>> judged_;
};

}  // namespace

LoadReport simulate_load(const LoadConfig& config, const std::vector<SimTask>& tasks) {
  check(config, tasks);
  return Load(config, tasks).run();
}

}  // namespace irt
