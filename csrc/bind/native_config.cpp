#include "bind/native_config.h"

#include <algorithm>

#include "core/error.h"
#include "models/llguidance.h"

namespace irt {
namespace {

using GrammarRef = std::shared_ptr<const Grammar>;

std::vector<GrammarRef> compile_all(const BoundVlmConfig& bound,
                                    const std::shared_ptr<const Vocabulary>& vocabulary) {
  if (bound.grammars.empty()) return {};
  if (bound.grammars.size() > 2) {
    throw Error(ErrorCode::kInternal, "[VlmConfig] more than two grammars");
  }
  const auto tokenizer = make_llg_tokenizer(*vocabulary);
  constexpr char kLast = '>';  // of "</answer>"
  std::vector<GrammarRef> made;
  for (const GrammarText& text : bound.grammars) {
    auto whole = make_llg_matcher(tokenizer, text.name, text.whole);
    auto closing =
        text.closing.empty() ? nullptr : make_llg_matcher(tokenizer, text.name, text.closing);
    made.push_back(std::make_shared<const Grammar>(text.name, vocabulary, std::move(whole),
                                                   std::move(closing), text.reserve, kLast));
  }
  return made;
}

}  // namespace

VlmConfig BoundVlmConfig::resolved() const {
  VlmConfig out = config;
  const auto& ends = config.decoder_config.eos_token_ids;
  out.tokens = std::make_shared<const Vocabulary>(token_bytes, special_tokens, ends);
  for (const std::int32_t id : special_tokens) {
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) continue;
    out.decoder_config.forbidden_token_ids.push_back(id);
  }
  const std::vector<GrammarRef> made = compile_all(*this, out.tokens);
  if (!made.empty()) out.grammar = made.front();
  if (made.size() > 1) out.image_grammar = made.back();
  return out;
}

}  // namespace irt
