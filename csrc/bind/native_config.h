// The configuration of native roles as Python sets it, attribute by attribute.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/native_config.h"

namespace irt {

struct BoundVlmConfig {
  VlmConfig config;
  std::vector<std::string> token_bytes;
  std::vector<std::int32_t> special_tokens;

  // With the token table built. Throws Error(kBadPack) for a table that does not fit.
  [[nodiscard]] VlmConfig resolved() const {
    VlmConfig out = config;
    out.decoder_config.merge_size = config.vision_config.merge_size;
    out.vision_config.hidden = config.decoder_config.hidden;
    out.vision_config.deepstack_levels = config.decoder_config.deepstack_levels;
    out.tokens = std::make_shared<const TokenTable>(token_bytes, special_tokens);
    return out;
  }
};

}  // namespace irt
