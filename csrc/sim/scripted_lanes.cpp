#include "sim/scripted_lanes.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <list>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

namespace irt {
namespace {

using Ticks = std::chrono::steady_clock;

// One stretch of a call and what happens at its end.
struct Part {
  enum class End { kStep, kVerdict, kCancelPoint, kFinish, kFail };
  double ms = 0.0;
  End end = End::kFinish;
  int index = 0;  // kStep
};

struct Active {
  Call call;
  std::uint64_t before = 0;  // hashes of the images that the call reads
  std::uint64_t after = 0;
  CallResult answer;  // of planner and critic
  std::vector<Part> parts;
  std::size_t next = 0;
  Ticks::time_point due;
  bool cancelled = false;
};

struct MakeImage {
  Active job;
};
using Report =
    std::variant<StepClosed, VerdictKnown, CallDone, CallFailed, CallCancelled, MakeImage>;

Failure scripted_failure(const LaneInfo& lane) {
  return {ErrorCode::kBackendFailed, "[ScriptedLane] " + lane.name + " fails as its script says"};
}

}  // namespace

class ScriptedDevice {
 public:
  void enter(Role role) { ++busy_[static_cast<std::size_t>(role)]; }
  void leave(Role role) { --busy_[static_cast<std::size_t>(role)]; }
  [[nodiscard]] bool others_busy(Role role) const {
    for (std::size_t i = 0; i < busy_.size(); ++i) {
      if (i != static_cast<std::size_t>(role) && busy_[i] > 0) return true;
    }
    return false;
  }

 private:
  std::array<std::atomic<int>, kRoles> busy_{};
};

struct ScriptedLane::Impl {
  Impl(LaneInfo lane, const ScriptedConfig& settings, std::shared_ptr<ScriptedDevice> shared,
       LaneEvents& sink, ImageStore& store)
      : info(std::move(lane)),
        config(settings),
        device(std::move(shared)),
        events(sink),
        images(store),
        thread([this](const std::stop_token& stop) { run(stop); }) {}

  const LaneInfo info;
  const ScriptedConfig config;
  const std::shared_ptr<ScriptedDevice> device;
  LaneEvents& events;
  ImageStore& images;

  std::mutex mutex;
  std::condition_variable_any changed;
  std::uint64_t version = 0;  // counts changes from outside
  std::uint64_t runs = 0;
  std::list<Active> active;
  std::jthread thread;  // last: it reads the members above

  // ---- what a call consists of
  [[nodiscard]] std::uint64_t hash_of(const Key& image) const {
    if (!image) return 0;
    if (const ImageRef found = images.get(image)) return found->hash;
    throw Error(ErrorCode::kInternal,
                "[ScriptedLane.start] image " + to_hex(image) + " is not in the store");
  }

  void prepare_plan(Active& job) const {
    const ScriptedTimes& times = config.times;
    Plan plan = scripted_plan(config.script, job.call.prompt, job.call.mode, job.call.max_steps,
                              job.call.seed);
    const int count = static_cast<int>(plan.steps.size());
    const double each = count > 1 ? (times.planner_ms - times.first_step_ms) / (count - 1) : 0.0;
    for (int i = 0; i < count; ++i) {
      job.parts.push_back({i == 0 ? times.first_step_ms : each, Part::End::kStep, i});
    }
    const double rest = count > 1 ? 0.0 : times.planner_ms - (count ? times.first_step_ms : 0.0);
    job.parts.push_back({rest, Part::End::kFinish, 0});
    if (scripted_plan_fails(config.script, job.call.prompt, job.call.seed)) {
      job.parts.back().end = Part::End::kFail;
    }
    job.answer = std::move(plan);
  }

  void prepare_image(Active& job) const {
    job.before = hash_of(job.call.source);
    const ScriptedTimes& times = config.times;
    for (int i = 0; i < times.denoise_steps; ++i) {
      job.parts.push_back({times.generator_ms / times.denoise_steps, Part::End::kCancelPoint, 0});
    }
    const bool fails =
        scripted_image_fails(config.script, job.call.prompt, job.before, job.call.seed);
    job.parts.back().end = fails ? Part::End::kFail : Part::End::kFinish;
  }

  void prepare_verdict(Active& job) const {
    job.before = hash_of(job.call.source);
    job.after = hash_of(job.call.image);
    const ScriptedTimes& times = config.times;
    Verdict verdict = scripted_verdict(config.script, job.call.original, job.call.prompt,
                                       job.before, job.after, job.call.seed);
    const double tail = times.critic_ms - times.verdict_ms;
    const bool fails = scripted_verdict_fails(config.script, job.call.prompt, job.before, job.after,
                                              job.call.seed);
    if (fails || !verdict.readable) {
      job.parts.push_back({times.critic_ms, fails ? Part::End::kFail : Part::End::kFinish, 0});
    } else {
      job.parts.push_back({times.verdict_ms, Part::End::kVerdict, 0});
      const bool ends = verdict.accepted && job.call.devices.early_verdict;
      job.parts.push_back({ends ? 0.0 : tail, Part::End::kFinish, 0});
    }
    job.answer = std::move(verdict);
  }

  // A neighbour slows what is left of an answer, not only what begins beside it. A generator keeps
  // its parts: they are its cancel points.
  void split(Active& job) const {
    constexpr double kPiece = 1.0;  // ms
    if (!device || config.times.slowdown <= 1.0 || info.role == Role::kGenerator) return;
    std::vector<Part> pieces;
    for (const Part& part : job.parts) {
      const int count = std::max(1, static_cast<int>(part.ms / kPiece));
      const Part piece{part.ms / count, Part::End::kCancelPoint, 0};
      pieces.insert(pieces.end(), static_cast<std::size_t>(count - 1), piece);
      pieces.push_back({piece.ms, part.end, part.index});
    }
    job.parts = std::move(pieces);
  }

  void schedule(Active& job, Ticks::time_point from) const {
    const bool slowed = device && device->others_busy(info.role);
    const double ms = job.parts[job.next].ms * (slowed ? config.times.slowdown : 1.0);
    job.due = from + std::chrono::duration_cast<Ticks::duration>(
                         std::chrono::duration<double, std::milli>(ms));
  }

  void start(const Call& call) {
    Active job;
    job.call = call;
    switch (call.kind) {
      case CallKind::kPlan: prepare_plan(job); break;
      case CallKind::kGenerate: prepare_image(job); break;
      case CallKind::kJudge: prepare_verdict(job); break;
    }
    split(job);
    {
      const std::lock_guard lock(mutex);
      if (static_cast<int>(active.size()) >= info.capacity) {
        throw Error(ErrorCode::kInternal, "[ScriptedLane.start] all " +
                                              std::to_string(info.capacity) + " slots of " +
                                              info.name + " are taken");
      }
      if (config.times.jitter > 0.0) {
        const std::uint64_t draw = mix64(config.script.seed ^ mix64(++runs + info.id * 1000003U));
        const double unit = static_cast<double>(draw >> 11) * 0x1.0p-53;
        for (Part& part : job.parts) part.ms *= 1.0 + config.times.jitter * (2.0 * unit - 1.0);
      }
      schedule(job, Ticks::now());
      active.push_back(std::move(job));
      if (device) device->enter(info.role);
      ++version;
    }
    changed.notify_one();
  }

  void cancel(const Key& call) {
    {
      const std::lock_guard lock(mutex);
      const auto job = find(call);
      if (job == active.end()) return;
      job->cancelled = true;
      if (info.role != Role::kGenerator) job->due = Ticks::now();
      ++version;
    }
    changed.notify_one();
  }

  std::list<Active>::iterator find(const Key& call) {
    return std::find_if(active.begin(), active.end(),
                        [&call](const Active& job) { return job.call.key == call; });
  }

  // ---- the thread
  void run(const std::stop_token& stop) {
    std::vector<Report> reports;
    std::unique_lock lock(mutex);
    while (!stop.stop_requested()) {
      const std::uint64_t seen = version;
      const auto moved = [this, seen] { return version != seen; };
      const auto first =
          std::min_element(active.begin(), active.end(),
                           [](const Active& a, const Active& b) { return a.due < b.due; });
      if (first == active.end()) {
        changed.wait(lock, stop, moved);
      } else {
        const Ticks::time_point due = first->due;
        changed.wait_until(lock, stop, due, moved);
      }
      advance(Ticks::now(), reports);
      if (reports.empty()) continue;
      lock.unlock();
      for (Report& report : reports) send(report);
      reports.clear();
      lock.lock();
    }
    std::list<Active> left;
    left.swap(active);
    lock.unlock();
    for (const Active& job : left) {
      if (device) device->leave(info.role);
      events.cancelled(job.call.key);
    }
  }

  void advance(Ticks::time_point now, std::vector<Report>& reports) {
    for (auto job = active.begin(); job != active.end();) {
      bool ended = false;
      while (!ended && job->due <= now) ended = reach(*job, reports);
      if (ended && device) device->leave(info.role);
      job = ended ? active.erase(job) : std::next(job);
    }
  }

  // The end of a part; true when it was the last one.
  bool reach(Active& job, std::vector<Report>& reports) {
    const Key key = job.call.key;
    if (job.cancelled) {
      reports.emplace_back(CallCancelled{key});
      return true;
    }
    const Part& part = job.parts[job.next];
    switch (part.end) {
      case Part::End::kStep:
        reports.emplace_back(
            StepClosed{key, part.index,
                       std::get<Plan>(job.answer).steps[static_cast<std::size_t>(part.index)]});
        break;
      case Part::End::kVerdict: {
        const auto& verdict = std::get<Verdict>(job.answer);
        reports.emplace_back(VerdictKnown{key, verdict.accepted, verdict.p_success});
        break;
      }
      case Part::End::kCancelPoint: break;
      case Part::End::kFail:
        reports.emplace_back(CallFailed{key, scripted_failure(info)});
        return true;
      case Part::End::kFinish:
        if (info.role == Role::kGenerator) {
          reports.emplace_back(MakeImage{std::move(job)});
        } else {
          reports.emplace_back(CallDone{key, std::move(job.answer)});
        }
        return true;
    }
    ++job.next;
    schedule(job, job.due);
    return false;
  }

  void send(Report& report) {
    if (auto* step = std::get_if<StepClosed>(&report)) {
      events.step_closed(step->call, step->index, std::move(step->step));
    } else if (const auto* verdict = std::get_if<VerdictKnown>(&report)) {
      events.verdict_known(verdict->call, verdict->accepted, verdict->p_success);
    } else if (auto* done = std::get_if<CallDone>(&report)) {
      events.done(done->call, std::move(done->result));
    } else if (auto* failed = std::get_if<CallFailed>(&report)) {
      events.failed(failed->call, std::move(failed->failure));
    } else if (const auto* cancelled = std::get_if<CallCancelled>(&report)) {
      events.cancelled(cancelled->call);
    } else if (const auto* make = std::get_if<MakeImage>(&report)) {
      make_image(make->job);
    }
  }

  void make_image(const Active& job) {
    const Call& call = job.call;
    try {
      const ImageRef stored =
          images.put(call.key, scripted_image(config.script, call.prompt, job.before, call.seed,
                                              call.width, call.height, call.denoising_steps));
      events.done(call.key, Image{call.key, stored->hash});
    } catch (const Error& error) {
      events.failed(call.key, {error.code(), error.what()});
    }
  }
};

ScriptedLane::ScriptedLane(LaneInfo info, const ScriptedConfig& config,
                           std::shared_ptr<ScriptedDevice> device, LaneEvents& events,
                           ImageStore& images)
    : impl_(std::make_unique<Impl>(std::move(info), config, std::move(device), events, images)) {}

// The thread reports from `run`; it has ended before the rest goes.
ScriptedLane::~ScriptedLane() {
  impl_->thread.request_stop();
  impl_->thread.join();
}

const LaneInfo& ScriptedLane::info() const noexcept { return impl_->info; }

void ScriptedLane::start(const Call& call, bool /*speculative*/) { impl_->start(call); }

void ScriptedLane::cancel(const Key& call) { impl_->cancel(call); }

namespace {

void validate(const ScriptedConfig& config) {
  validate(config.script);
  const ScriptedTimes& times = config.times;
  const bool ordered = times.first_step_ms >= 0.0 && times.first_step_ms <= times.planner_ms &&
                       times.verdict_ms >= 0.0 && times.verdict_ms <= times.critic_ms &&
                       times.generator_ms >= 0.0;
  const bool counted = times.denoise_steps >= 1 && config.planner_slots >= 1 &&
                       config.generator_slots >= 1 && config.critic_slots >= 1;
  const bool scaled = times.jitter >= 0.0 && times.jitter < 1.0 && times.slowdown >= 1.0;
  if (ordered && counted && scaled) return;
  throw Error(ErrorCode::kBadRequest,
              "[add_scripted_lanes] give 0 <= first_step_ms <= planner_ms, 0 <= verdict_ms <= "
              "critic_ms, generator_ms >= 0, denoise_steps and slots >= 1, 0 <= jitter < 1 and "
              "slowdown >= 1");
}

}  // namespace

ScriptedIds add_scripted_lanes(Driver& driver, const ScriptedConfig& config) {
  validate(config);
  const auto device = config.shared ? std::make_shared<ScriptedDevice>() : nullptr;
  const auto add = [&](Role role, int slots, const std::string& name) {
    const LaneInfo info{driver.next_lane_id(), role, slots,
                        config.shared ? "scripted" : "scripted " + name, "scripted " + name};
    driver.add_lane(std::make_unique<ScriptedLane>(info, config, device, driver, driver.images()));
    return info.id;
  };
  return {add(Role::kPlanner, config.planner_slots, "planner"),
          add(Role::kGenerator, config.generator_slots, "generator"),
          add(Role::kCritic, config.critic_slots, "critic")};
}

}  // namespace irt
