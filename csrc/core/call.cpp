#include "core/call.h"

namespace irt {

Key key_of(const Call& call) {
  KeyBuilder builder("irt.call.1");
  builder.add(static_cast<std::uint64_t>(call.role))
      .add(call.request)
      .add(static_cast<std::uint64_t>(call.step))
      .add(static_cast<std::uint64_t>(call.attempt))
      .add(static_cast<std::uint64_t>(call.retry))
      .add(call.seed)
      .add(static_cast<std::uint64_t>(call.mode))
      .add(static_cast<std::uint64_t>(call.max_steps))
      .add(call.prompt)
      .add(call.original)
      .add(static_cast<std::uint64_t>(call.images.size()));
  for (const Key& image : call.images) builder.add(image);
  return builder.add(call.source)
      .add(call.image)
      .add(static_cast<std::uint64_t>(call.width))
      .add(static_cast<std::uint64_t>(call.height))
      .add(static_cast<std::uint64_t>(call.denoising_steps))
      .finish();
}

std::uint64_t seed_of(std::uint64_t request_seed, SeedRule rule, Role role, int step, int attempt,
                      int retry) {
  if (rule == SeedRule::kReference && role == Role::kGenerator) {
    return static_cast<std::uint64_t>(step) * 1000U;
  }
  std::uint64_t seed = mix64(request_seed);
  seed = mix64(seed ^ (static_cast<std::uint64_t>(role) + 1));
  seed = mix64(seed ^ static_cast<std::uint64_t>(step));
  seed = mix64(seed ^ static_cast<std::uint64_t>(attempt));
  return mix64(seed ^ static_cast<std::uint64_t>(retry));
}

}  // namespace irt
