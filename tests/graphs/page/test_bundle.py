"""The page's modules as one script."""

import re
from pathlib import Path

import pytest

from graphs.page.scripts import SCRIPT_FOLDER, bundle_scripts


def modules(folder: Path, **texts: str) -> Path:
    for name, text in texts.items():
        (folder / f"{name}.js").write_text(text, encoding="utf-8")
    return folder


def test_bundled_modules_follow_those_they_import_once_each(tmp_path: Path) -> None:
    common = 'import { c } from "./c.js";\n'
    folder = modules(
        tmp_path,
        a='import { b } from "./b.js";\n' + common + "const a = b + c;\n",
        b=common + "export function b() {}\n",
        c="export const c = 1;\n",
    )
    assert bundle_scripts("a.js", folder) == "const c = 1;\nfunction b() {}\nconst a = b + c;\n"


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ({"a": 'import { b } from "./b.js";\n', "b": 'import { a } from "./a.js";\n'}, "circle: a.js -> b.js -> a.js"),
        ({"a": 'import { b } from "./b.js";\nconst x = 1;\n', "b": "let x = 2;\n"}, "b.js and a.js both declare x"),
        ({"a": 'const x = "</script>";\n'}, "would end its element"),
        ({"a": "/* <!-- */\n"}, "would end its element"),
        ({"a": "export default 3;\n"}, "'export default 3;' is not an import or export that can be bundled"),
        ({"a": 'import * as b from "./b.js";\n'}, "is not an import or export that can be bundled"),
    ],
)
def test_modules_that_cannot_share_one_script_are_refused(texts: dict[str, str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        bundle_scripts("a.js", modules(tmp_path, **texts))


def test_every_script_of_the_folder_is_in_a_page() -> None:
    text = bundle_scripts("main.js") + bundle_scripts("steering.js")
    for path in SCRIPT_FOLDER.glob("*.js"):
        assert path.read_text(encoding="utf-8").split("*/")[0] in text, path.name
