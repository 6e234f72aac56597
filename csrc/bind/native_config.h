// The configuration of native roles as Python sets it, attribute by attribute.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/vlm_model.h"
#include "models/grammar.h"

namespace irt {

// One grammar as text (models/grammar.h says what the parts are; an empty `closing` = none).
struct GrammarText {
  std::string name;
  std::string whole;
  std::string closing;
  int reserve = 0;
};

struct BoundVlmConfig {
  VlmConfig config;
  std::vector<std::string> token_bytes;
  std::vector<std::int32_t> special_tokens;
  std::vector<GrammarText> grammars;  // none; one; or one without and one with images

  // With token table and grammars built. Throws Error(kBadPack) for a table that does not fit or a
  // grammar that cannot be compiled, Error(kBackendFailed) where llguidance is not loaded.
  [[nodiscard]] VlmConfig resolved() const;
};

}  // namespace irt
