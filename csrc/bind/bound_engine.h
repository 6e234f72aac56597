// The driver as Python holds it, and the names that values have there.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <string>

#include "bind/bound_spec.h"
#include "bind/convert.h"
#include "bind/native_config.h"
#include "engine/driver.h"
#include "engine/image_model.h"
#include "sim/scripted_lanes.h"

namespace irt {

struct BoundEngineConfig {
  int max_live = 8;
  int max_queued = 64;
  std::size_t image_bytes = std::size_t{1} << 30;
  std::size_t text_cache = 4096;
  std::size_t max_unforgotten = 1024;
  double lane_grace_s = 10.0;
  bool batching = true;
  std::optional<double> critic_slowdown;
  std::optional<double> generator_rate;

  // Throws Error(kBadRequest) for limits that make no sense.
  [[nodiscard]] DriverConfig resolved() const;
};

struct BoundEngine {
  explicit BoundEngine(const BoundEngineConfig& config);
  // Threads are joined: Python must be able to go on meanwhile.
  ~BoundEngine();
  BoundEngine(const BoundEngine&) = delete;
  BoundEngine& operator=(const BoundEngine&) = delete;

  void add_planner(const BoundVlmConfig& config, const std::string& device,
                   const std::string& name);
  void add_critic(const BoundVlmConfig& config, const std::string& device, const std::string& name);
  void add_generator(const ImageModelConfig& config, const std::string& device,
                     const std::string& name);
  void add_scripted(const ScriptedConfig& config);

  const bool batching;
  Driver driver;

 private:
  void add_model(Role role, std::unique_ptr<RoleModel> model, const std::string& device,
                 const std::string& name);
  void add_vlm(Role role, const BoundVlmConfig& config, const std::string& device,
               const std::string& name);
};

[[nodiscard]] const char* name_of(SpanOutcome outcome);
// Throws Error(kBadRequest) for a name that is no error code.
[[nodiscard]] ErrorCode code_of(const std::string& name);
[[nodiscard]] nb::dict dict_of(const DriverCounters& counters);

}  // namespace irt
