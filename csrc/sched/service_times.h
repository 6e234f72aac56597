// Who computes beside whom: service times of calls, alone and with another role on the device.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/call.h"
#include "sched/policy.h"

namespace irt {

// An average over roughly the last `memory` samples.
class DecayingMean {
 public:
  void add(double value, double memory) noexcept;
  [[nodiscard]] double mean() const noexcept { return weight_ > 0 ? sum_ / weight_ : 0.0; }
  [[nodiscard]] std::int64_t samples() const noexcept { return samples_; }
  // The mean, from so many samples on.
  [[nodiscard]] std::optional<double> known(int min_samples) const noexcept {
    return samples_ < min_samples ? std::nullopt : std::optional(mean());
  }

 private:
  double sum_ = 0.0;
  double weight_ = 0.0;
  std::int64_t samples_ = 0;
};

// Service time of one role on one device, with and without another role beside it. A call that
// took T, of which O beside the other role, did T - O + O / s of work. Over n such calls that sums
// to n times the time alone, which is solved for s: unlike a mean of ratios it does not depend on
// how long the single answers were.
class ServiceModel {
 public:
  void add(double duration, double overlapped, const PolicyConfig& config) noexcept;
  [[nodiscard]] std::optional<double> slowdown(const PolicyConfig& config) const noexcept;

 private:
  DecayingMean alone_;
  DecayingMean beside_clear_;  // T - O of the overlapped samples
  DecayingMean beside_over_;   // O of the overlapped samples
};

// Taken when a call starts; kept with the call.
struct CallTiming {
  std::size_t device = 0;
  Role role = Role::kPlanner;
  TimePoint started = 0;
  double beside = 0.0;  // the device's accounts at the start
  double planner = 0.0;
  bool crowded = false;  // another call shared the lane: its time says nothing about devices
};

class ServiceTimes {
 public:
  explicit ServiceTimes(const PolicyConfig& config) : config_(config) {}

  // The index of a device; equal names are one device.
  [[nodiscard]] std::size_t device(const std::string& name);

  [[nodiscard]] CallTiming start(std::size_t device, Role role, TimePoint now);
  // The call has left the device. To be called once for every start().
  void stop(const CallTiming& timing, TimePoint now);
  // The call took from its start until now to yield what is waited for: a sample.
  void sample(const CallTiming& timing, TimePoint now);

  [[nodiscard]] int active(std::size_t device, Role role) const noexcept {
    return devices_[device].active[index_of(role)];
  }
  [[nodiscard]] std::optional<double> critic_slowdown(std::size_t device) const noexcept;
  [[nodiscard]] std::optional<double> generator_rate(std::size_t device) const noexcept;
  // Over all devices; of the critic Cv, of the generator G.
  [[nodiscard]] std::optional<double> mean_of(Role role) const noexcept {
    return time_[index_of(role)].known(config_.min_samples);
  }

 private:
  struct Device {
    std::string name;
    std::array<int, kRoles> active{};
    // Time during which the other of critic and generator was active (planner: either of them).
    std::array<double, kRoles> beside{};
    double planner = 0.0;  // time during which a planner was: it slows both, and is neither
    TimePoint updated = 0;
    std::array<ServiceModel, kRoles> service{};
  };
  static void advance(Device& device, TimePoint now) noexcept;

  PolicyConfig config_;
  std::vector<Device> devices_;
  std::array<DecayingMean, kRoles> time_{};
};

}  // namespace irt
