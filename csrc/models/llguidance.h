// llguidance, loaded by address from its Python wheel: grammars in its Lark dialect as matchers.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "models/grammar.h"

namespace irt {

// The names of the functions whose addresses `load_llguidance` wants, in that order.
[[nodiscard]] std::vector<std::string> llguidance_symbols();

// Keeps the functions for the process and tries them on a grammar with a known answer. Throws
// Error(kBackendFailed) where an address is null, the version is not 1.x from 1.7 on, or the
// self-test fails; nothing is kept then. Loading again is allowed and does nothing. Thread-safe.
void load_llguidance(std::span<const std::uintptr_t> addresses);
// "llguidance@1.9.1", or empty while it is not loaded.
[[nodiscard]] std::string llguidance_version();

// llguidance's view of one vocabulary. Immutable: any number of threads may use it.
class LlgTokenizer;
// Throws Error(kBackendFailed) while the library is not loaded or refuses the tokens.
[[nodiscard]] std::shared_ptr<const LlgTokenizer> make_llg_tokenizer(const Vocabulary& vocabulary);
// Compiles a grammar. Throws Error(kBadPack) with the library's reason, naming `name`.
[[nodiscard]] std::unique_ptr<TokenMatcher> make_llg_matcher(
    std::shared_ptr<const LlgTokenizer> tokenizer, const std::string& name,
    const std::string& lark);

}  // namespace irt
