// The part of llguidance's C interface (1.7 to 1.x) that is used, declared by ourselves. Its
// functions are found by name in the shared object of its Python wheel and called by address.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace irt::llg {

struct Tokenizer;
struct Matcher;

// Versioned by its first field: a newer library takes what it does not find for zero.
struct TokenizerInit {
  std::size_t struct_size = sizeof(TokenizerInit);
  std::uint32_t vocab_size = 0;
  std::uint32_t tok_eos = 0;
  const std::uint32_t* token_lens = nullptr;
  const std::uint8_t* token_bytes = nullptr;
  const char* tokenizer_json = nullptr;
  bool tokenize_assumes_string = false;
  void* tokenize_fn = nullptr;
  bool approximate_greedy_tokenize = false;
  const void* tokenize_user_data = nullptr;
  const char* const* slices = nullptr;
  const std::uint32_t* tok_eos_extra = nullptr;
  std::uint32_t tok_eos_extra_count = 0;
};
static_assert(sizeof(TokenizerInit) == 96 && offsetof(TokenizerInit, tokenize_fn) == 48 &&
              offsetof(TokenizerInit, slices) == 72);

// Not versioned: the library fills in its defaults, and may know more fields than these. So it gets
// a zeroed buffer that is much larger than any version of the struct (80 bytes in 1.9).
struct alignas(16) MatcherInit {
  const Tokenizer* tokenizer = nullptr;
  std::uint32_t log_buffer_level = 0;
  std::uint32_t log_stderr_level = 0;
  std::array<unsigned char, 1008> rest{};
};
static_assert(sizeof(MatcherInit) == 1024 && offsetof(MatcherInit, log_stderr_level) == 12);

// In the order of kSymbols.
struct Functions {
  const char* (*get_version)();
  Tokenizer* (*new_tokenizer)(const TokenizerInit*, char* error, std::size_t error_size);
  void (*free_tokenizer)(Tokenizer*);
  void (*init_defaults)(MatcherInit*, const Tokenizer*);
  Matcher* (*new_matcher)(const MatcherInit*, const char* kind, const char* text);
  void (*free_matcher)(Matcher*);
  Matcher* (*clone_matcher)(const Matcher*);
  const char* (*get_error)(Matcher*);  // null: none
  std::size_t (*mask_bytes)(const Matcher*);
  std::int32_t (*compute_mask)(Matcher*, std::uint32_t* mask, std::size_t bytes);
  std::int32_t (*validate_tokens)(Matcher*, const std::uint32_t* tokens, std::size_t count);
  std::int32_t (*consume_token)(Matcher*, std::uint32_t token);
  bool (*is_accepting)(Matcher*);
  std::int32_t (*reset)(Matcher*);
};

inline constexpr std::array<const char*, 14> kSymbols{
    "llg_get_version",
    "llg_new_tokenizer_v2",
    "llg_free_tokenizer",
    "llg_constraint_init_set_defaults",
    "llg_new_matcher",
    "llg_free_matcher",
    "llg_clone_matcher",
    "llg_matcher_get_error",
    "llg_matcher_get_mask_byte_size",
    "llg_matcher_compute_mask_into",
    "llg_matcher_validate_tokens",
    "llg_matcher_consume_token",
    "llg_matcher_is_accepting",
    "llg_matcher_reset",
};
static_assert(sizeof(Functions) == kSymbols.size() * sizeof(void*));

}  // namespace irt::llg
