#include "bind/native_config.h"

#include <algorithm>

#include "core/error.h"
#include "models/llguidance.h"

namespace irt {
namespace {

using GrammarRef = std::shared_ptr<const Grammar>;

std::vector<GrammarRef> compile_all(const BoundVlmConfig& bound) {
  if (bound.grammars.empty()) return {};
  if (bound.grammars.size() > 2) {
    throw Error(ErrorCode::kInternal, "[VlmConfig] more than two grammars");
  }
  const auto vocabulary = std::make_shared<const Vocabulary>(
      bound.token_bytes, bound.special_tokens, bound.config.decoder_config.eos_token_ids);
  CompileGrammar compile = bound.compile;
  if (!compile) {
    compile = [tokenizer = make_llg_tokenizer(*vocabulary)](const std::string& name,
                                                            const std::string& text) {
      return make_llg_matcher(tokenizer, name, text);
    };
  }
  constexpr char kLast = '>';  // of "</answer>"
  std::vector<GrammarRef> made;
  for (const GrammarText& text : bound.grammars) {
    auto whole = compile(text.name, text.whole);
    auto closing = text.closing.empty() ? nullptr : compile(text.name, text.closing);
    made.push_back(std::make_shared<const Grammar>(text.name, vocabulary, std::move(whole),
                                                   std::move(closing), text.reserve, kLast));
  }
  return made;
}

}  // namespace

VlmConfig BoundVlmConfig::resolved() const {
  VlmConfig out = config;
  out.tokens = std::make_shared<const TokenTable>(token_bytes, special_tokens);
  const auto& ends = config.decoder_config.eos_token_ids;
  for (const std::int32_t id : special_tokens) {
    if (std::find(ends.begin(), ends.end(), id) != ends.end()) continue;
    out.decoder_config.forbidden_token_ids.push_back(id);
  }
  const std::vector<GrammarRef> made = compile_all(*this);
  if (!made.empty()) out.grammar = made.front();
  if (made.size() > 1) out.image_grammar = made.back();
  return out;
}

}  // namespace irt
