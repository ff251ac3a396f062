"""Renders a template of Jinja2, twice: the second time it is compiled already."""

import pathlib

import jinja2

folder = pathlib.Path(__file__).parent / "templates"
pages = jinja2.Environment(loader=jinja2.FileSystemLoader(folder))


def render(name):
    page = pages.get_template("page.html")
    text = page.render(name=name, items=[1, 2, 3])  # renders
    return " ".join(text.split())  # rendered


first = render("one")  # first
print(first)
print(render("two"))
