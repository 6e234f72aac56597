#include "sim/scripted_lanes.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <list>
#include <string>
#include <utility>
#include <vector>

#include "engine/model_lane.h"

namespace irt {

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

namespace {

// One stretch of a call and what happens at its end.
struct Part {
  enum class End { kStep, kVerdict, kCancelPoint, kFinish, kFail };
  double ms = 0.0;
  End end = End::kFinish;
  int index = 0;  // kStep
};

class ScriptedModel final : public RoleModel {
 public:
  ScriptedModel(Role role, const ScriptedConfig& config, std::shared_ptr<ScriptedDevice> device)
      : role_(role), config_(config), device_(std::move(device)) {}
  ~ScriptedModel() override {
    while (!jobs_.empty()) end(jobs_.begin());
  }
  ScriptedModel(const ScriptedModel&) = delete;
  ScriptedModel& operator=(const ScriptedModel&) = delete;

  [[nodiscard]] int capacity() const noexcept override {
    switch (role_) {
      case Role::kPlanner: return config_.planner_slots;
      case Role::kGenerator: return config_.generator_slots;
      case Role::kCritic: return config_.critic_slots;
    }
    return 1;
  }
  [[nodiscard]] bool reads_texts() const noexcept override { return false; }

  void admit(const LaneCallRef& call) override {
    Job job;
    job.call = call;
    switch (role_) {
      case Role::kPlanner: prepare_plan(job); break;
      case Role::kGenerator: prepare_image(job); break;
      case Role::kCritic: prepare_verdict(job); break;
    }
    split(job);
    if (config_.times.jitter > 0.0) {
      const std::uint64_t draw = mix64(config_.script.seed ^ call->call.key.lo ^ mix64(++runs_));
      const double unit = static_cast<double>(draw >> 11) * 0x1.0p-53;
      for (Part& part : job.parts) part.ms *= 1.0 + config_.times.jitter * (2.0 * unit - 1.0);
    }
    schedule(job, call->started);  // not the time at which the thread has woken up
    jobs_.push_back(std::move(job));
    if (device_) device_->enter(role_);
  }

  [[nodiscard]] Clock::time_point next_step_at() const override {
    const auto first = std::ranges::min_element(jobs_, {}, &Job::due);
    return first == jobs_.end() ? Clock::now() : first->due;
  }

  void step(LaneEvents& events) override {
    const Clock::time_point now = Clock::now();
    for (auto job = jobs_.begin(); job != jobs_.end();) {
      const auto at = job++;
      while (at->due <= now && !reach(at, events)) {
      }
    }
  }

  bool cancel(const LaneCall& call) override {
    if (role_ == Role::kGenerator) return false;
    end(std::ranges::find_if(jobs_, [&call](const Job& job) { return job.call.get() == &call; }));
    return true;
  }

 private:
  struct Job {
    LaneCallRef call;
    std::uint64_t before = 0;  // hashes of the images that the call reads
    std::uint64_t after = 0;
    LaneResult answer;  // of planner and critic
    std::vector<Part> parts;
    std::size_t next = 0;
    Clock::time_point due;
  };
  using Jobs = std::list<Job>;

  static std::uint64_t hash_of(const ImageRef& image) { return image ? image->hash : 0; }

  void prepare_plan(Job& job) const {
    const ScriptedTimes& times = config_.times;
    Plan plan = scripted_plan(config_.script, job.call->call.prompt, job.call->call.mode,
                              job.call->call.max_steps, job.call->call.seed);
    const int count = static_cast<int>(plan.steps.size());
    const double each = count > 1 ? (times.planner_ms - times.first_step_ms) / (count - 1) : 0.0;
    for (int i = 0; i < count; ++i) {
      job.parts.push_back({i == 0 ? times.first_step_ms : each, Part::End::kStep, i});
    }
    const double rest = count > 1 ? 0.0 : times.planner_ms - (count ? times.first_step_ms : 0.0);
    job.parts.push_back({rest, Part::End::kFinish, 0});
    if (scripted_plan_fails(config_.script, job.call->call.prompt, job.call->call.seed)) {
      job.parts.back().end = Part::End::kFail;
    }
    job.answer = std::move(plan);
  }

  void prepare_image(Job& job) const {
    job.before = hash_of(job.call->images[0]);
    const ScriptedTimes& times = config_.times;
    for (int i = 0; i < times.denoise_steps; ++i) {
      job.parts.push_back({times.generator_ms / times.denoise_steps, Part::End::kCancelPoint, 0});
    }
    const bool fails = scripted_image_fails(config_.script, job.call->call.prompt, job.before,
                                            job.call->call.seed);
    job.parts.back().end = fails ? Part::End::kFail : Part::End::kFinish;
  }

  void prepare_verdict(Job& job) const {
    job.before = hash_of(job.call->images[0]);
    job.after = hash_of(job.call->images[1]);
    const ScriptedTimes& times = config_.times;
    Verdict verdict =
        scripted_verdict(config_.script, job.call->call.original, job.call->call.prompt, job.before,
                         job.after, job.call->call.seed);
    const double tail = times.critic_ms - times.verdict_ms;
    const bool fails = scripted_verdict_fails(config_.script, job.call->call.prompt, job.before,
                                              job.after, job.call->call.seed);
    if (fails || !verdict.readable) {
      job.parts.push_back({times.critic_ms, fails ? Part::End::kFail : Part::End::kFinish, 0});
    } else {
      job.parts.push_back({times.verdict_ms, Part::End::kVerdict, 0});
      const bool ends = verdict.accepted && job.call->call.optimizations.early_verdict;
      job.parts.push_back({ends ? 0.0 : tail, Part::End::kFinish, 0});
    }
    job.answer = std::move(verdict);
  }

  // A neighbour slows what is left of an answer, not only what begins beside it. A generator keeps
  // its parts: they are its cancel points.
  void split(Job& job) const {
    constexpr double kPiece = 1.0;  // ms
    if (!device_ || config_.times.slowdown <= 1.0 || role_ == Role::kGenerator) return;
    std::vector<Part> pieces;
    for (const Part& part : job.parts) {
      const int count = std::max(1, static_cast<int>(part.ms / kPiece));
      const Part piece{part.ms / count, Part::End::kCancelPoint, 0};
      pieces.insert(pieces.end(), static_cast<std::size_t>(count - 1), piece);
      pieces.push_back({piece.ms, part.end, part.index});
    }
    job.parts = std::move(pieces);
  }

  void schedule(Job& job, Clock::time_point from) const {
    const bool slowed = device_ && device_->others_busy(role_);
    const double ms = job.parts[job.next].ms * (slowed ? config_.times.slowdown : 1.0);
    job.due = from + std::chrono::duration_cast<Clock::duration>(
                         std::chrono::duration<double, std::milli>(ms));
  }

  void end(Jobs::iterator job) {
    if (job == jobs_.end()) return;
    jobs_.erase(job);
    if (device_) device_->leave(role_);
  }

  // The end of a part; true when it was the last one.
  bool reach(Jobs::iterator at, LaneEvents& events) {
    Job& job = *at;
    const LaneCallRef call = job.call;
    if (call->cancelled) {
      end(at);
      events.cancelled(*call);
      return true;
    }
    const Part& part = job.parts[job.next];
    switch (part.end) {
      case Part::End::kStep: {
        const auto& plan = std::get<Plan>(job.answer);
        events.step_closed(*call, part.index, plan.steps[static_cast<std::size_t>(part.index)]);
        break;
      }
      case Part::End::kVerdict: {
        const auto& verdict = std::get<Verdict>(job.answer);
        events.verdict_known(*call, verdict.accepted, verdict.p_success);
        break;
      }
      case Part::End::kCancelPoint: break;
      case Part::End::kFail:
        end(at);
        events.failed(*call, {ErrorCode::kBackendFailed, "fails as its script says"});
        return true;
      case Part::End::kFinish: {
        const Job done = std::move(job);
        end(at);
        finish(done, events);
        return true;
      }
    }
    ++job.next;
    schedule(job, job.due);
    return false;
  }

  void finish(const Job& job, LaneEvents& events) {
    const Call& call = job.call->call;
    if (role_ != Role::kGenerator) return events.done(*job.call, job.answer);
    events.done(*job.call, scripted_image(config_.script, call.prompt, job.before, call.seed,
                                          call.width, call.height, call.denoising_steps));
  }

  const Role role_;
  const ScriptedConfig config_;
  const std::shared_ptr<ScriptedDevice> device_;
  std::uint64_t runs_ = 0;
  Jobs jobs_;
};

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

std::unique_ptr<RoleModel> make_scripted_model(Role role, const ScriptedConfig& config,
                                               std::shared_ptr<ScriptedDevice> device) {
  return std::make_unique<ScriptedModel>(role, config, std::move(device));
}

std::unique_ptr<Lane> make_scripted_lane(LaneInfo info, const ScriptedConfig& config,
                                         Driver& driver, std::shared_ptr<ScriptedDevice> device) {
  auto model = make_scripted_model(info.role, config, std::move(device));
  return std::make_unique<ModelLane>(std::move(info), std::move(model), driver, driver.text());
}

ScriptedIds add_scripted_lanes(Driver& driver, const ScriptedConfig& config) {
  validate(config);
  const auto device = config.shared ? std::make_shared<ScriptedDevice>() : nullptr;
  const auto add = [&](Role role, const char* what) {
    const std::string name = std::string("scripted ") + what;
    const LaneInfo info{driver.next_lane_id(), role, 0, config.shared ? "scripted" : name, name};
    driver.add_lane(make_scripted_lane(info, config, driver, device));
    return info.id;
  };
  const LaneId planner = add(Role::kPlanner, "planner");
  const LaneId generator = add(Role::kGenerator, "generator");
  return {planner, generator, add(Role::kCritic, "critic")};
}

}  // namespace irt
