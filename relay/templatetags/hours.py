"""`{% hours_in %}`: in which zone the hours of the page are."""

from django import template

from relay import zones

register = template.Library()
register.simple_tag(zones.shown, name="hours_in")
