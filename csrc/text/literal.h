// Incremental reader of one object as models write it: JSON, a Python dict, or nearly one of them.
#pragma once

#include <array>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "text/characters.h"

namespace irt {

enum class LexemeKind {
  kBeginObject,
  kEndObject,
  kBeginArray,
  kEndArray,
  kKey,
  kString,
  kNumber,
  kTrue,
  kFalse,
  kNull
};

struct Lexeme {
  LexemeKind kind = LexemeKind::kNull;
  int depth = 0;           // containers around it; a begin and its end have the same depth
  std::size_t offset = 0;  // of its first byte in the stream; of a key: unspecified
  std::string_view text;   // key, string (decoded, valid UTF-8) or number; dies with the call
};

class LexemeSink {
 public:
  // False: nothing more is wanted, the reader stops.
  virtual bool on_lexeme(const Lexeme& lexeme) = 0;
  // Whether the key is one that answers have: it ends the text before it in any form.
  [[nodiscard]] virtual bool knows(std::string_view key) const = 0;

 protected:
  LexemeSink() = default;
  LexemeSink(const LexemeSink&) = default;
  LexemeSink& operator=(const LexemeSink&) = default;
  ~LexemeSink() = default;
};

// A push-down automaton over characters: its state depends on the characters alone, never on how
// the stream was cut. Constant work per character; memory bounded by the limits below.
//
// Takes JSON, Python's displays of dict, list, str, int, float, bool and None, and what models make
// of them:
//   * quotes ", ' and the typographic ones; keys without quotes; words in any case, also NaN,
//     Infinity and undefined; whatever is spelled with a number's characters is a number;
//   * commas too many, too few or full-width; no-break and other wide spaces; comments (#, //, /*);
//   * the escapes of both languages: one letter, \xXX, \uXXXX (surrogates pair up), \UXXXXXXXX.
//     An unknown or unfinished one is text. A lone surrogate and invalid UTF-8 become U+FFFD.
//   * `</answer` between two values ends all that is open.
//
// A string ends at a quote that is followed by what may follow it there, and any other quote is
// text: in an object `}`, `</answer` or a key with its colon, which is one that the sink knows, or
// is quoted and comes after a comma; in a list `]`, `</answer` or a comma. That is looked for in
// kMaxTrial characters (white space does not count). So a string is told when that has been read,
// and where it was not read the characters behind the quote are read again as text. A known key in
// quotes with its colon where no key may be breaks the object: a quote or a brace is missing.
//
// A word (true, None, ...) is complete with its last letter: what follows can break the object but
// cannot take the word back.
class LiteralReader {
 public:
  static constexpr std::size_t kMaxStringBytes = 64 * 1024;  // decoded
  static constexpr std::size_t kMaxKeyBytes = 128;
  static constexpr std::size_t kMaxNumberBytes = 64;
  static constexpr int kMaxDepth = 32;
  static constexpr int kMaxTrial = 256;  // characters

  enum class Status { kOpen, kClosed, kStopped, kFailed };

  // Takes the next character, the first of which is the object's brace; ignored unless status() is
  // kOpen. Appends to `again` what has to be read again before the stream goes on, the next
  // character last.
  void feed(const Character& character, LexemeSink& sink, std::vector<Character>& again);
  // The stream ends here. True: a string that might have ended has not, and goes on with `again`.
  [[nodiscard]] bool end(std::vector<Character>& again);

  [[nodiscard]] Status status() const noexcept { return status_; }
  // What was wrong, as static text; empty unless kFailed.
  [[nodiscard]] std::string_view problem() const noexcept { return problem_; }

 private:
  enum class Lex {
    kBetween,
    kString,
    kEscape,
    kHex,
    kNumber,
    kWord,
    kQuotedKey,
    kBareKey,
    kInnerKey,
    kSlash,
    kLineComment,
    kBlockComment,
    kStar,
    kEndTag
  };
  enum class Expect { kValue, kValueOrEnd, kKeyOrEnd, kColon };

  void step(const Character& character, LexemeSink& sink);
  void between(const Character& character, LexemeSink& sink);
  void begin(const Character& character, LexemeSink& sink);
  void open(bool object, std::size_t offset, LexemeSink& sink);
  void close(bool object, std::size_t offset, LexemeSink& sink);
  void close_one(std::size_t offset, LexemeSink& sink);
  void end_tag(const Character& character, LexemeSink& sink);
  void comma(LexemeSink& sink);
  void quoted_key(char32_t value);
  void bare_key(const Character& character, LexemeSink& sink);
  void inner_key(char32_t value);
  void end_key(LexemeSink& sink);
  void string_character(const Character& character);
  void escape(char32_t value);
  void hex(const Character& character);
  void text(char32_t value);
  void drop_surrogate();
  void end_trial(LexemeSink& sink);
  void word(char32_t value, LexemeSink& sink);
  void scalar(LexemeKind kind, std::string_view text, LexemeSink& sink);
  void emit(LexemeKind kind, std::size_t offset, std::string_view text, LexemeSink& sink);
  void after_value();
  void give_back(std::vector<Character>& again);
  // On trial: the string has not ended, it goes on. Otherwise the object is broken.
  void fail(std::string_view problem);

  Status status_ = Status::kOpen;
  Lex lex_ = Lex::kBetween;
  Expect expect_ = Expect::kValue;
  std::array<bool, kMaxDepth> is_object_{};
  int depth_ = 0;
  bool comma_ = false;  // since the last value or beginning

  std::string text_;             // of the string, number or word under way
  std::size_t start_ = 0;        // its offset
  std::u32string_view ends_;     // the quotes that may end the string
  std::u32string escape_;        // the letter and the digits of its \x, \u or \U
  char32_t surrogate_ = 0;       // a high surrogate that waits for its low one
  bool on_trial_ = false;        // it may have ended
  char32_t quote_ = 0;           // with this
  std::vector<Character> held_;  // what came after that
  int spent_ = 0;                // of kMaxTrial

  std::string key_;               // under way
  bool quoted_ = false;           // it is
  std::u32string_view key_ends_;  // the quotes that end it
  std::size_t tag_ = 0;           // characters of </answer that were read
  std::string_view problem_;
};

}  // namespace irt
